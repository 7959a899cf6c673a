package meter
import ("testing";"fmt";"slices";"os")
func TestDbg(t *testing.T){
 for _,f:=range []string{"/tmp/meterw/go.wasm","/tmp/meterw/c.wasm"} {
 b,_:=os.ReadFile(f)
 p,err:=Rewrite(b,Budget{Memory:64<<20,Custom:64<<20,Name:1<<20,Complexity:1<<40})
 if err!=nil{t.Fatal(err)}
 fs:=p.Info.Functions
 fmt.Println(f,p.Info.Complexity,len(p.Wasm),len(b))
 slices.SortFunc(fs,func(a,b Function)int{return int(b.Complexity-a.Complexity)})
 for _,x:=range fs[:min(8,len(fs))] {fmt.Printf("%+v\n",x)}
 slices.SortFunc(fs,func(a,b Function)int{return int(b.Weight-a.Weight)})
 for _,x:=range fs[:min(8,len(fs))] {fmt.Printf("%+v\n",x)}
 n:=map[int64]int{}; for _,x:=range fs {n[x.Weight]++}; fmt.Println(n)
 }
}
