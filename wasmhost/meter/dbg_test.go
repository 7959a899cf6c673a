package meter
import ("testing";"os";"fmt";"strings")
func TestDbg(t *testing.T){
 b,_:=os.ReadFile("/tmp/meterw/go.wasm")
 dbg=func(s*scan,i int){ if s.module.named==nil{s.module.readNames()}; n:=s.named[uint32(i+len(s.imported))]; if strings.Contains(n,"sha256.block") { fmt.Println(n,s.f.Size,s.f.Instructions,s.f.Loops,len(s.points),s.calls); for _,p:=range s.points{fmt.Println(p.at-s.code.from,p.cost,p.folded,p.loop)} } }
 p,err:=Rewrite(b,Budget{Memory:64<<20,Custom:64<<20,Name:1<<20})
 if err!=nil{t.Fatal(err)}
 _=p
}
