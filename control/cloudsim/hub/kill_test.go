package hub_test

import (
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/engine"
)

// A simulator that is killed over and over while a device reports has the one
// end in the end.
func TestKilledAgainAndAgain(t *testing.T) {
	samples := hub.Config{Accounts: accounts("gw-1")}
	for _, tt := range []struct {
		name  string
		cloud func() *hub.Cloud
		join  func(*cloudsim.Sim) *gateway
		set   map[string]any
		want  string
	}{
		{"method", func() *hub.Cloud { return newHub(t, samples) }, func(s *cloudsim.Sim) *gateway { return gw1(t, s, azurehub.Flat, &engineSide{}) }, nil, "j-1 failed failed"},
		{"twin", func() *hub.Cloud { return newHub(t, samples) }, func(s *cloudsim.Sim) *gateway { return gw1(t, s, azurehub.Firmware, &engineSide{}) },
			map[string]any{"shape": "twin"}, "j-1 failed error"},
		{"device update", func() *hub.Cloud { return updateHub(t, "gw-1") }, func(s *cloudsim.Sim) *gateway { return vacuum(t, s, &engineSide{}) }, nil, "j-1 failed 0/0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}
			s := start(t, cfg, tt.cloud())
			g := tt.join(s)
			order(t, s, push("j-1", tt.set))
			c := g.command(t, 1)
			cfg = again(cfg, s)
			for i := range 20 {
				switch i {
				case 3:
					g.fetched(c)
				case 6:
					g.report(c, engine.RolledBack, "install", "the step broke")
				}
				after := time.After(time.Duration(i) * 3 * time.Millisecond) // another moment each time
				<-after
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = start(t, cfg, tt.cloud())
			}
			ended(t, s, "gw-1", "j-1")
			eventually(t, "the report is delivered", func() bool { return g.has(&g.delivered, "report of "+c.ID) })
			only(t, s, "gw-1", tt.want)
		})
	}
}
