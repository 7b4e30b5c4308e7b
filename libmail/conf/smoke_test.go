package conf
import ("testing";"fmt")
func TestSmoke(t *testing.T){
 c,err:=Load("/etc/postfix")
 if err!=nil {t.Fatal(err)}
 fmt.Println(c.String("mynetworks"), c.String("myhostname"), c.Duration("delay_warning_time"), c.Int("postscreen_pre_queue_limit"), c.TransportInt("smtp","destination_concurrency_limit"), c.String("relay_domains"), c.String("smtpd_banner"))
 for _,p:=range Params(){ c.String(p.Name); if err:=c.checkValue(p,c.Expand(c.Default(p))); err!=nil && p.Kind!=Raw{ fmt.Println(p.Name,err)} }
 s,err:=LoadMaster("/etc/postfix",c); fmt.Println(len(s),err); for _,x:=range s[:4]{fmt.Printf("%+v\n",x)}
}
