package control_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

func everyCall() []control.Call {
	return []control.Call{
		control.SwarmInit{},
		control.SwarmJoin{},
		control.SwarmLeave{},
		control.SwarmInspect{},
		control.SwarmUpdate{},
		control.SwarmUnlock{},
		control.SwarmUnlockKey{},
		control.Info{},
		control.NodeJoin{},
		control.NodeRenew{},
		control.NodeList{},
		control.NodeInspect{},
		control.NodeUpdate{},
		control.NodeRemove{},
		control.ServiceCreate{},
		control.ServiceUpdate{},
		control.ServiceRemove{},
		control.ServiceInspect{},
		control.ServiceList{},
		control.TaskList{},
		control.TaskInspect{},
		control.LogSources{},
	}
}

func everyAnswer() []control.Answer {
	return []control.Answer{
		control.Failed{},
		control.Done{},
		control.Created{},
		control.Admitted{},
		control.Swarm{},
		control.UnlockKey{},
		control.NodeInfo{},
		control.Nodes{},
		control.Services{},
		control.Tasks{},
		control.Sources{},
	}
}

// Every call and every answer, with something in every field, comes out of the
// codec as it went in; so does the empty one.
func TestCodec(t *testing.T) {
	f := filler{rand.New(rand.NewPCG(1, 2))}
	for range 3 {
		for _, zero := range everyCall() {
			full := f.filled(zero).(control.Call)
			for _, call := range []control.Call{zero, full} {
				data, err := control.EncodeCall(call)
				if err != nil {
					t.Fatal(err)
				}
				got, err := control.DecodeCall(data)
				if diff := cmp.Diff(call, got, compare()); err != nil || diff != "" {
					t.Errorf("%T: %v %s", call, err, diff)
				}
			}
		}
		for _, zero := range everyAnswer() {
			full := f.filled(zero).(control.Answer)
			for _, answer := range []control.Answer{zero, full} {
				data, err := control.EncodeAnswer(answer)
				if err != nil {
					t.Fatal(err)
				}
				got, err := control.DecodeAnswer(data)
				if diff := cmp.Diff(answer, got, compare()); err != nil || diff != "" {
					t.Errorf("%T: %v %s", answer, err, diff)
				}
			}
		}
	}
}

// A template that ten thousand tasks share goes over the wire once, and is
// shared by those that are read.
func TestCodecSharesTemplates(t *testing.T) {
	template := &state.Template{Service: "web", Version: 3, ServiceName: strings.Repeat("x", 1000)}
	var tasks control.Tasks
	for range 10_000 {
		tasks.Tasks = append(tasks.Tasks, &state.Task{ID: "t"})
		tasks.Templates = append(tasks.Templates, template)
	}
	tasks.Templates[7] = nil
	data, err := control.EncodeAnswer(tasks)
	if err != nil || len(data) > 5<<20 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	answer, err := control.DecodeAnswer(data)
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(control.Tasks).Templates
	if got[0] != got[9999] || got[7] != nil || got[0].ServiceName != template.ServiceName {
		t.Errorf("the templates are not the same")
	}
}

// What cannot be read is refused with a reason.
func TestCodecRefuses(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{``, "a call cannot be read"},
		{`{"kind":"NodeDance","body":{}}`, `a call of kind "NodeDance" cannot be read: it is of a kind that this build does not know`},
		{`{"kind":"NodeList"}`, `a call of kind "NodeList" cannot be read`},
		{`{"kind":"NodeList","body":[]}`, `a call of kind "NodeList" cannot be read`},
		{strings.Repeat(" ", control.CallBytesMax+1), "a call cannot be read: it has 16777217 bytes, at most 16777216 are read"},
	} {
		if _, err := control.DecodeCall([]byte(c.data)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.40s: got %v, want %s", c.data, err, c.want)
		}
	}
	for _, body := range []string{
		`{"Tasks":[{}],"Template":[]}`, `{"Tasks":[null],"Template":[-1]}`, `{"Tasks":[{}],"Template":[0]}`, `{"Tasks":[{}],"Template":[-2]}`,
	} {
		if a, err := control.DecodeAnswer([]byte(`{"kind":"Tasks","body":` + body + `}`)); err == nil {
			t.Errorf("%s is read as %+v", body, a)
		}
	}
	if _, err := control.EncodeCall(control.ServiceCreate{RegistryAuth: strings.Repeat("x", control.CallBytesMax)}); err == nil {
		t.Error("a call that is too large is written")
	}
}

// FuzzCodec reads anything: what is read can be written, and read again as the
// same.
func FuzzCodec(f *testing.F) {
	fill := filler{rand.New(rand.NewPCG(3, 4))}
	for _, call := range everyCall() {
		if data, err := control.EncodeCall(fill.filled(call).(control.Call)); err == nil {
			f.Add(data)
		}
	}
	for _, answer := range everyAnswer() {
		if data, err := control.EncodeAnswer(fill.filled(answer).(control.Answer)); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if call, err := control.DecodeCall(data); err == nil {
			again, err := control.EncodeCall(call)
			if err != nil {
				t.Fatalf("%T was read and cannot be written: %v", call, err)
			}
			if second, err := control.DecodeCall(again); err != nil || !cmp.Equal(call, second, compare()) {
				t.Fatalf("%T: %v %s", call, err, cmp.Diff(call, second, compare()))
			}
		}
		if answer, err := control.DecodeAnswer(data); err == nil {
			again, err := control.EncodeAnswer(answer)
			if err != nil {
				t.Fatalf("%T was read and cannot be written: %v", answer, err)
			}
			if second, err := control.DecodeAnswer(again); err != nil || !cmp.Equal(answer, second, compare()) {
				t.Fatalf("%T: %v %s", answer, err, cmp.Diff(answer, second, compare()))
			}
		}
	})
}

// compare takes what is empty for what is not there: Docker's own types leave
// out both, and nobody is shown the difference.
func compare() cmp.Option {
	return cmp.Options{
		cmp.FilterPath(func(p cmp.Path) bool {
			v, w := p.Last().Values()
			return empty(v) && empty(w)
		}, cmp.Ignore()),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func empty(v reflect.Value) bool {
	if !v.IsValid() {
		return true
	}
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	default:
		return false
	}
}

// A filler puts something into every field.
type filler struct{ draws *rand.Rand }

func (f filler) filled(of any) any {
	v := reflect.New(reflect.TypeOf(of)).Elem()
	f.fill(v, 0)
	if tasks, ok := reflect.TypeAssert[control.Tasks](v); ok {
		n := min(len(tasks.Tasks), len(tasks.Templates))
		return control.Tasks{Tasks: tasks.Tasks[:n], Templates: tasks.Templates[:n]}
	}
	return v.Interface()
}

func (f filler) fill(v reflect.Value, depth int) {
	const depthMax = 12
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(f.draws.IntN(250))})))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(f.draws.IntN(250))}), 16)))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(f.draws.Int64N(1<<30), 5).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(`word <&"` + string(rune('a'+f.draws.IntN(26))))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(f.draws.Int64N(1 << 30))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(f.draws.IntN(200)))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		if depth < depthMax {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key, depth+1)
		f.fill(value, depth+1)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				f.fill(field, depth+1)
			}
		}
	default:
	}
}

// A spec as a user posts it is rendered to the same JSON on every manager.
func TestCodecKeepsSpecs(t *testing.T) {
	replicas := uint64(0)
	spec := swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "web", Labels: map[string]string{}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{
			Image: "nginx", Env: []string{}, Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/t"}},
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		}},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
	data, err := control.EncodeAnswer(control.Services{Services: []*state.Service{{ID: "s", Spec: spec}}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := control.DecodeAnswer(data)
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(control.Services).Services[0].Spec
	if diff := cmp.Diff(spec, got, compare()); diff != "" {
		t.Error(diff)
	}
}
