package control_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// admitted is what a call is answered on a store with a swarm; whoever is refused
// must have written nothing.
func admitted(t *testing.T, call control.Call) control.Answer {
	t.Helper()
	w := newWorld()
	w.founded(control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377"})
	d := w.store.Draft()
	answer := control.Admit(d, w.mint, w.wall, call)
	if failed, bad := answer.(control.Failed); bad && (d.Dirty() || failed.Message == "") {
		t.Fatalf("refused with %q, yet it wrote: %v", failed.Message, d.Dirty())
	}
	w.store.Apply(w.store.Index()+1, d.Changes())
	if n := w.store.Undecodable(); n > 0 {
		t.Fatalf("%d objects that were admitted cannot be read back", n)
	}
	return answer
}

// FuzzExpansion has templates of any kind in every place that may have one: they
// are taken or refused, with few words, in little time.
func FuzzExpansion(f *testing.F) {
	for _, text := range []string{
		"{{.Service.Name}}-{{.Task.Slot}}", `{{join "," .Node.Hostname "x"}}`, "{{range .Service.Labels}}{{.}}{{end}}",
		`{{printf "%9999999d" 1}}`, "{{range .Service.Labels}}{{range $.Service.Labels}}{{end}}{{end}}",
		`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`, `{{index .Service.Labels "a"}}`, "{{.Nope}}", "{{with $x := .}}{{$x.Task}}{{end}}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "web"}}
		spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{
			Image: "nginx", Env: []string{"A=" + text}, Hostname: text,
			Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: text, Target: "/" + text}},
		}
		if failed, bad := admitted(t, control.ServiceCreate{Spec: spec}).(control.Failed); bad && len(failed.Message) > 2000+8*len(text) {
			t.Fatalf("a template of %d bytes is refused with %d", len(text), len(failed.Message))
		}
	})
}

// FuzzServiceCreate posts JSON of any kind as a service. What is taken can be
// inspected, and updated to itself without a new template.
func FuzzServiceCreate(f *testing.F) {
	for _, body := range []string{
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"nginx"}}}`,
		`{"Name":"j","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Placement":{"Constraints":["node.labels.a==b","node.ip!=1.2.3.4/8"]}},"Mode":{"ReplicatedJob":{}}}`,
		`{"Name":"p","TaskTemplate":{"ContainerSpec":{"Image":"a","Env":["A={{.Task.Name}}"]}},"EndpointSpec":{"Ports":[{"TargetPort":80},{"TargetPort":80,"PublishedPort":81,"PublishMode":"host"}]}}`,
		`{"Name":"u","TaskTemplate":{"ContainerSpec":{"Image":"a"},"RestartPolicy":{"Delay":-1}},"UpdateConfig":{"MaxFailureRatio":2}}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var spec swarm.ServiceSpec
		if json.Unmarshal([]byte(body), &spec) != nil {
			return
		}
		w := newWorld()
		w.founded(control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377"})
		d := w.store.Draft()
		made, ok := control.Admit(d, w.mint, w.wall, control.ServiceCreate{Spec: spec}).(control.Created)
		if !ok {
			return
		}
		w.store.Apply(w.store.Index()+1, d.Changes())
		before := w.store.Draft().Service(state.ServiceID(made.ID))
		if before == nil {
			t.Fatalf("%s was made and is not there", made.ID)
		}
		d = w.store.Draft()
		again := control.ServiceUpdate{Ref: made.ID, Version: before.SpecVersion, Spec: before.Spec}
		if failed, bad := control.Admit(d, w.mint, w.wall, again).(control.Failed); bad {
			t.Fatalf("what was stored is refused: %s", failed.Message)
		}
		if after := d.Service(before.ID); after.Template != before.Template {
			t.Fatalf("an update that changes nothing makes template %d of %d", after.Template, before.Template)
		}
	})
}

// BenchmarkServiceCreate admits one service among a thousand.
func BenchmarkServiceCreate(b *testing.B) {
	w := newWorld()
	w.founded(control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377"})
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "web"}}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "nginx", Env: []string{"A=b", "C={{.Node.Hostname}}"}}
	d := w.store.Draft()
	for range 1000 {
		spec.Name = "s" + w.mint.ID()
		control.Admit(d, w.mint, w.wall, control.ServiceCreate{Spec: spec})
	}
	w.store.Apply(w.store.Index()+1, d.Changes())
	mint := entropy.New(entropy.Seed{9})
	b.ReportAllocs()
	for b.Loop() {
		spec.Name = "web"
		if failed, bad := control.Admit(w.store.Draft(), mint, w.wall, control.ServiceCreate{Spec: spec}).(control.Failed); bad {
			b.Fatal(failed.Message)
		}
	}
}

// BenchmarkTaskList lists the tasks of one service among a hundred.
func BenchmarkTaskList(b *testing.B) {
	w := newWorld()
	w.founded(control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377"})
	d := w.store.Draft()
	for i := range 3000 {
		service := state.ServiceID("s" + strings.Repeat("x", 1+i%100))
		d.PutTask(&state.Task{ID: state.TaskID(w.mint.ID()), Service: service, Slot: uint64(i), Desired: state.TaskRunning})
	}
	for i := range 100 {
		id := "s" + strings.Repeat("x", 1+i)
		d.PutService(&state.Service{ID: state.ServiceID(id), Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: id}}})
	}
	w.store.Apply(w.store.Index()+1, d.Changes())
	b.ReportAllocs()
	for b.Loop() {
		answer := control.Read(w.store.Draft(), "", "", control.TaskList{Filters: control.Filters{"service": {"sxxx"}}})
		if tasks, ok := answer.(control.Tasks); !ok || len(tasks.Tasks) != 30 {
			b.Fatalf("%+v", answer)
		}
	}
}
