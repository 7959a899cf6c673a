package poll_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/poll"
)

// A link makes the requests that a dialect wants, with a token that the dialect never sees.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s with %s", r.URL.Path, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	ctx, stop := context.WithCancel(context.Background())
	dialect := newScript(func(in control.In, emit func(control.Out)) {
		switch in.Kind {
		case control.InConnected:
			emit(control.Out{Kind: control.OutRequest, Method: "GET", URL: server.URL + "/devices/gw-1", Token: 1})
		case control.InResponse:
			fmt.Println(in.Status, string(in.Payload))
			stop()
		}
	})
	c := poll.Config{Spread: -1, Authorize: func(string) (string, error) { return "TargetToken t0k3n", nil }}
	l, err := poll.New(c, dialect, newHost())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(l.Run(ctx))
	// Output:
	// 200 /devices/gw-1 with TargetToken t0k3n
	// polling: context canceled
}
