package runtime

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/typeurl/v2"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/swarmd/swarmd/engine/agent"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// paper is a runtime that makes nothing: it only designs.
func paper(t testing.TB) *Runtime {
	t.Helper()
	return &Runtime{
		config: Config{Root: filepath.Join(t.TempDir(), "root"), State: filepath.Join(t.TempDir(), "state"), Namespace: "paper"},
		host:   host{snapshotter: "overlayfs", capabilities: defaultCapabilities(), memorySwap: true, initCommand: []string{"/usr/bin/tini", "--"}},
	}
}

func paperImage(config dockerspec.DockerOCIImageConfig) localImage {
	return localImage{&imageInfo{id: someDigest, spec: dockerspec.DockerOCIImage{Config: config}}, "docker.io/library/x:1"}
}

// drawn is the OCI specification of a container.
func drawn(t *testing.T, r *Runtime, c agent.Container, config dockerspec.DockerOCIImageConfig) (*specs.Spec, *record) {
	t.Helper()
	image := paperImage(config)
	rec := newRecord(c, image, r.host.snapshotter)
	if err := r.design(&rec, image); err != nil {
		t.Fatal(err)
	}
	spec, err := r.ociSpec(&rec, identityOf{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return spec, &rec
}

// Names are completed as Docker completes them.
func TestImageNames(t *testing.T) {
	for _, c := range []struct{ text, full, familiar, host string }{
		{"nginx", "docker.io/library/nginx:latest", "nginx:latest", "docker.io"},
		{"nginx:alpine", "docker.io/library/nginx:alpine", "nginx:alpine", "docker.io"},
		{"me/web", "docker.io/me/web:latest", "me/web:latest", "docker.io"},
		{"localhost:5000/web:1", "localhost:5000/web:1", "localhost:5000/web:1", "localhost:5000"},
		{"example.com/a/b", "example.com/a/b:latest", "example.com/a/b:latest", "example.com"},
		{"nginx@" + someDigest, "docker.io/library/nginx@" + someDigest, "nginx@" + someDigest, "docker.io"},
		{"nginx:alpine@" + someDigest, "docker.io/library/nginx@" + someDigest, "nginx@" + someDigest, "docker.io"},
	} {
		n, err := parseImageName(c.text)
		if err != nil || n.full() != c.full || n.familiar() != c.familiar || n.host() != c.host {
			t.Errorf("%s: %s, %s, %s, %v", c.text, n.full(), n.familiar(), n.host(), err)
		}
	}
	for _, text := range []string{"", "UPPER", "a b", "x@sha256:12", ":tag", strings.Repeat("f", 64)} {
		if n, err := parseImageName(text); err == nil {
			t.Errorf("%q is accepted as %s", text, n.full())
		}
	}
}

// A name that is accepted is the same when read again.
func FuzzImageName(f *testing.F) {
	f.Add("nginx:alpine@" + someDigest)
	f.Add("localhost:5000/a/b:c")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseImageName(text)
		if err != nil {
			return
		}
		again, err := parseImageName(n.full())
		if err != nil || again.full() != n.full() || again.digest != n.digest {
			t.Errorf("%q is %s, which is %s, %v", text, n.full(), again.full(), err)
		}
	})
}

// Credentials come in any of base64's dialects.
func TestDecodeAuth(t *testing.T) {
	want := registry.AuthConfig{Username: "me", Password: "se?cret>~", ServerAddress: "example.com"}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*base64.Encoding{base64.URLEncoding, base64.RawURLEncoding, base64.StdEncoding} {
		if got, err := decodeAuth(e.EncodeToString(data)); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	pair := `{"auth":"` + base64.StdEncoding.EncodeToString([]byte("me:secret")) + `"}`
	if got, err := decodeAuth(base64.URLEncoding.EncodeToString([]byte(pair))); err != nil || got.Username != "me" || got.Password != "secret" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := decodeAuth(""); err != nil || got != (registry.AuthConfig{}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"***", "bm90IGpzb24=", strings.Repeat("A", authBytesMax+1), base64.URLEncoding.EncodeToString([]byte(`{"auth":"x"}`))} {
		if _, err := decodeAuth(bad); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// Whatever comes as credentials is understood or refused, and never repeated.
func FuzzDecodeAuth(f *testing.F) {
	f.Add("eyJ1c2VybmFtZSI6Im1lIn0=")
	f.Add("e30")
	f.Fuzz(func(t *testing.T, header string) {
		_, err := decodeAuth(header)
		if err != nil && len(header) > 40 && strings.Contains(err.Error(), header) {
			t.Errorf("the error repeats a secret: %v", err)
		}
	})
}

func recordOf(c agent.Container) record {
	rec := newRecord(c, paperImage(dockerspec.DockerOCIImageConfig{}), "overlayfs")
	rec.Args = []string{"x"}
	return rec
}

// A record is read as it was written, and whatever else is there is refused.
func FuzzRecord(f *testing.F) {
	data, err := recordOf(task("x", swarm.ContainerSpec{})).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(data))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := unmarshalRecord(map[string]typeurl.Any{recordExtension: recordBytes(data)})
		if err != nil {
			return
		}
		again, err := rec.marshal()
		if err != nil {
			t.Fatal(err)
		}
		same, err := unmarshalRecord(map[string]typeurl.Any{recordExtension: again})
		if err != nil || fmt.Sprint(same.Container.ID, same.Args, same.Env) != fmt.Sprint(rec.Container.ID, rec.Args, rec.Env) {
			t.Errorf("%+v became %+v, %v", rec, same, err)
		}
	})
}

// Plain HTTP is spoken to loopback and to those whom the operator names.
func TestInsecure(t *testing.T) {
	allowed := []string{"registry.test", "other.test:5000", "10.1.0.0/16"}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true,
		"registry.test": true, "registry.test:443": true, "other.test:5000": true, "10.1.2.3:5000": true,
		"other.test": false, "docker.io": false, "10.2.0.1": false, "evil-localhost": false,
	} {
		if got := isInsecure(host, allowed); got != want {
			t.Errorf("%s: %t, want %t", host, got, want)
		}
	}
}

// DNS servers on loopback are of no use in a container.
func TestHostDNS(t *testing.T) {
	dir := t.TempDir()
	stub, real := filepath.Join(dir, "stub"), filepath.Join(dir, "real")
	for name, text := range map[string]string{
		stub: "nameserver 127.0.0.53\noptions edns0\n",
		real: "# x\nnameserver 192.0.2.1\nnameserver nonsense\nsearch a.test b.test\noptions ndots:1 rotate\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := DNS{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Search: []string{"a.test", "b.test"}, Options: []string{"ndots:1", "rotate"}}
	if got, err := hostDNS([]string{filepath.Join(dir, "none"), stub, real}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if text := (DNS{Search: []string{"."}}).text(); strings.Contains(text, "search") {
		t.Errorf("no search is %q", text)
	}
}

// ps shows how a container is in Docker's words.
func TestStatus(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		l      life
		health *container.Health
		want   string
	}{
		{life{}, nil, "Created"},
		{life{Started: now.Add(-5 * time.Second)}, nil, "Up 5 seconds"},
		{life{Started: now.Add(-5 * time.Minute)}, &container.Health{Status: container.Healthy}, "Up 5 minutes (healthy)"},
		{life{Started: now.Add(-3 * time.Hour)}, &container.Health{Status: container.Starting}, "Up 3 hours (health: starting)"},
		{life{Started: now.Add(-time.Hour), Finished: now.Add(-2 * time.Minute), ExitCode: 137}, nil, "Exited (137) 2 minutes ago"},
	} {
		if got := statusText(c.l, c.health, now); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Users and groups are found by the accounts of the container, and no link of
// its leads to those of the host.
func TestLookUpUser(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := lookUpUser(root, "7:8", []string{"9"}); err != nil || got.UID != 7 || got.GID != 8 || !slices.Equal(got.AdditionalGids, []uint32{8, 9}) {
		t.Errorf("without accounts: %+v, %v", got, err)
	}
	for link, target := range map[string]string{"passwd": "/accounts", "group": "../../../accounts2"} {
		if err := os.Symlink(target, filepath.Join(root, "etc", link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"accounts": "app:x:100:200::/:/bin/sh\n", "accounts2": "app:x:200:\nmore:x:300:app\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := lookUpUser(root, "app", nil); err != nil || got.UID != 100 || got.GID != 200 || !slices.Equal(got.AdditionalGids, []uint32{200, 300}) {
		t.Errorf("by name: %+v, %v", got, err)
	}
	if _, err := lookUpUser(root, "root", nil); err == nil {
		t.Error("the host's root was found")
	}
	if _, err := lookUpUser(root, "app", []string{"nogroup"}); err == nil {
		t.Error("a group that is not there was found")
	}
}

// A custom seccomp profile in Docker's form is read for the capabilities and the
// machine at hand.
func TestCustomSeccomp(t *testing.T) {
	profile := `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
		"archMap":[{"architecture":"` + string(seccompArch()) + `","subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_OTHER"}],
		"syscalls":[
		{"names":["read"],"action":"SCMP_ACT_ALLOW"},
		{"name":"old","action":"SCMP_ACT_ALLOW"},
		{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["chown"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_CHOWN"]}},
		{"names":["never"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_CHOWN"]}},
		{"names":["future"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"999.1"}},
		{"names":["present"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"3.1"}}]}`
	s, err := customSeccomp([]byte(profile), []string{"CAP_CHOWN"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range s.Syscalls {
		names = append(names, c.Names...)
	}
	if want := []string{"read", "old", "chown", "present"}; !slices.Equal(names, want) || len(s.Architectures) != 2 || *s.DefaultErrnoRet != 1 {
		t.Errorf("%v, %v; want %v", names, s.Architectures, want)
	}
	for _, bad := range []string{"", "{}", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`} {
		if _, err := customSeccomp([]byte(bad), nil); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// Changes of an import are those of a Dockerfile.
func TestChanges(t *testing.T) {
	var c dockerspec.DockerOCIImageConfig
	for _, change := range []string{
		`CMD ["a","b c"]`, "entrypoint run it", `ENV A=1 B="2 3" C='4'`, "ENV KEY some words", `LABEL x=y "z w"=v`,
		"EXPOSE 80 53/udp", `VOLUME ["/data"]`, "USER me", "WORKDIR /w", "STOPSIGNAL SIGINT",
	} {
		if err := applyChange(&c, change); err != nil {
			t.Errorf("%s: %v", change, err)
		}
	}
	want := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		Cmd: []string{"a", "b c"}, Entrypoint: []string{"/bin/sh", "-c", "run it"}, Env: []string{"A=1", "B=2 3", "C=4", "KEY=some words"},
		Labels: map[string]string{"x": "y", "z w": "v"}, ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}},
		Volumes: map[string]struct{}{"/data": {}}, User: "me", WorkingDir: "/w", StopSignal: "SIGINT",
	}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	for _, bad := range []string{"", "CMD", "RUN x", "ENV A='1", "LABEL a=b c", "STOPSIGNAL SIGWHAT"} {
		if err := applyChange(&c, bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The output of ps is restricted to a container's processes.
func TestParsePS(t *testing.T) {
	out := "UID   PID  PPID CMD\nroot    1     0 /sbin/init splash\nroot   42     1 sleep 600 and more\n"
	got, err := parsePS([]byte(out), []string{"42"})
	if err != nil || len(got.Processes) != 1 || !slices.Equal(got.Processes[0], []string{"root", "42", "1", "sleep 600 and more"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parsePS([]byte("CMD\n"), nil); err == nil {
		t.Error("output without PIDs is accepted")
	}
}

// The init passes the command's exit code on, and the signal that ended it.
func TestRunInit(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command []string
		code    int
	}{
		{[]string{"sh", "-c", "exit 3"}, 3},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"sh", "-c", "trap 'exit 9' TERM; kill -TERM $PPID; while :; do sleep 0.01; done"}, 9},
		{[]string{"/no/such/program"}, 127},
	} {
		cmd := exec.CommandContext(t.Context(), self, append([]string{initArgument}, c.command...)...)
		err := cmd.Run()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("%q: %v, want code %d", c.command, err, c.code)
		}
	}
}

// What cannot be is refused before anything is started.
func TestValidate(t *testing.T) {
	good := Config{Root: "/r", State: "/s", Namespace: "n", LoggerBinary: []string{"/l"}, Post: (&testHost{}).post}
	if err := validate(good); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Root = "r" }, func(c *Config) { c.Namespace = "a/b" }, func(c *Config) { c.Post = nil },
		func(c *Config) { c.LoggerBinary = nil }, func(c *Config) { c.InitBinary = []string{"init"} },
	} {
		c := good
		spoil(&c)
		if validate(c) == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// A pull's refusal is in Docker's words.
func TestPullFailure(t *testing.T) {
	name, err := parseImageName("localhost:5000/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if got := pullFailure(name, notFoundf("x")).Error(); got != "manifest for localhost:5000/web:1 not found: manifest unknown: manifest unknown" {
		t.Error(got)
	}
	if at := name.at(digest.Digest(someDigest)); at != "localhost:5000/web@"+someDigest {
		t.Error(at)
	}
}

// A task that has a name server of its own asks that one; only a spec that says
// so counts dots otherwise.
func TestOwnNameServer(t *testing.T) {
	own := netip.MustParseAddr("127.0.0.11")
	host := DNS{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Search: []string{"example"}, Options: []string{"ndots:5", "timeout:1"}}
	if got, want := host.through(own, nil).text(), "# Written by swarmd for this container.\nnameserver 127.0.0.11\nsearch example\noptions timeout:1 ndots:0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := host.through(own, &swarm.DNSConfig{Options: []string{"ndots:5"}}).Options; !slices.Equal(got, host.Options) {
		t.Errorf("the spec's options became %v", got)
	}
}
