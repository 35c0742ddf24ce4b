package api_test

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/api/apitest"
)

// The unmodified docker CLI is understood, and understands: each command ends
// well and prints what it should. Without docker on PATH there is nothing to test.
func TestDockerCLI(t *testing.T) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker CLI on this machine")
	}
	socket := serveSocket(t)
	for _, step := range []struct{ command, want string }{ // want is a regular expression, (?s)
		{"version --format {{.Server.APIVersion}}", `^1\.50\n$`},
		{"version", `Server:.*Engine.*Version: +0\.1\.0`},
		{"info", `Swarm: inactive.*Kernel Version: 6\.0.*CPUs: 2`},
		{"!node ls", `This node is not a swarm manager`},
		{"swarm init --advertise-addr 10.0.0.1", `Swarm initialized: current node \([0-9a-z]{25}\) is now a manager.*docker swarm join --token SWMTKN-1-d{50}-[0-9a-z]{25} 10\.0\.0\.1:2377`},
		{"!swarm init", `already part of a swarm`},
		{"swarm join-token -q worker", `^SWMTKN-1-`},
		{"info", `Swarm: active.*Is Manager: true.*Managers: 1.*Nodes: 1`},
		{"node ls", `host1 +Ready +Active +Leader +0\.1\.0`},
		{"node inspect --pretty self", `Hostname:\s+host1.*Manager Status:.*Leader:\s+Yes`},
		{"node update --label-add rack=1 host1", `host1`},
		{"node ls --filter node.label=rack=1 -q", `^[0-9a-z]{25}`},
		{"service create -d --name web --replicas 2 --publish 8080:80 nginx:alpine", `could not be accessed on a registry.*\n[0-9a-z]{25}\n$`},
		{"service create -d --no-resolve-image --name more --env A=b nginx:alpine", `^[0-9a-z]{25}\n$`},
		{"service ls", `web +replicated +2/2 +nginx:alpine +\*:8080->80/tcp`},
		{"service ps web", `web\.1 +nginx:alpine +host1 +Running +Running`},
		{"service ps --no-trunc web", `web\.2 +nginx:alpine`},
		{"service inspect --pretty web", `Name:.*web.*Replicas:.*2.*PublishedPort = 8080`},
		{"service inspect web", `"Replicas": 2`},
		{"service scale web=3", `verify: Service web converged`},
		{"service update -d --image nginx:1 more", `more`},
		{"service rollback -d more", `more`},
		{"service logs web", `web\.\d\.[0-9a-z]{12}@host1 +\| ready`},
		{"service logs --raw --tail 1 web", `^(last)+$`},
		{"service logs --raw --details --timestamps web", `2026-11-01T12:00:00\.000000005Z com\.docker\.swarm\.node\.id=[0-9a-z]{25},com\.docker\.swarm\.service\.id=[0-9a-z]{25},com\.docker\.swarm\.task\.id=[0-9a-z]{25} ready\n`},
		{"ps", `nginx:alpine.*Up 2 seconds.*web\.1\.`},
		{"ps -a --filter name=more --format {{.Names}}", `^more\.1\.[0-9a-z]{25}\n`},
		{"ps -a --filter label=com.docker.swarm.service.name=web -q -n 1", `^[0-9a-f]{12}\n$`},
		{"images", `nginx +alpine +aaaaaaaaaaaa`},
		{"image inspect nginx:alpine", `"Architecture": "amd64"`},
		{"pull nginx:alpine", `Pulling from`},
		{"!pull missing", `manifest unknown`},
		{"tag nginx:alpine mine:1", `^$`},
		{"inspect web", `"Name": "web"`},
		{"inspect host1", `"Hostname": "host1"`},
		{"!inspect nosuch", `No such object: nosuch`},
		{"network ls", `bridge.*ingress +overlay +swarm`},
		{"network inspect ingress", `"Scope": "swarm"`},
		{"volume ls", `local +data`},
		{"events --since 1 --until 2", `^$`},
		{"events --since 1h --until 0s --filter type=service --filter event=create", `service create [0-9a-z]{25} \(name=web\)`},
		{"system df", `Images`},
		{"secret ls", `ID`},
		{"config ls", `ID`},
		{"stack ls", `NAME`},
		{"!network create x", `networks of driver bridge: not served yet; create the network with --driver overlay`},
		{"network create -d overlay --attachable --label a=b --subnet 10.77.0.0/24 front", `^[0-9a-z]{25}\n$`},
		{"network create -d overlay back", `^[0-9a-z]{25}\n$`},
		{"!network create -d overlay front", `network with name front already exists`},
		{"network ls --filter scope=swarm --format {{.Name}}/{{.Driver}}", `back/overlay\nfront/overlay\ningress/overlay`},
		{"network ls --filter dangling=true --format {{.Name}}", `^back\nfront\n$`},
		{"network inspect front --format {{.IPAM.Config}}", `10.77.0.0/24.*10.77.0.1`},
		{"network rm back", `^back\n$`},
		{"network prune -f", `front`},
		{"!run nginx:alpine", `swarmd runs containers as tasks of services`},
		{"service rm web more", `web\nmore`},
		{"!swarm leave", `Removing the last manager erases all current state of the swarm`},
		{"swarm leave --force", `Node left the swarm`},
	} {
		command, fails := strings.CutPrefix(step.command, "!")
		var out bytes.Buffer
		run := exec.CommandContext(t.Context(), docker, append([]string{"-H", "unix://" + socket}, strings.Fields(command)...)...)
		run.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
		run.Stdout, run.Stderr = &out, &out
		if err := run.Run(); (err != nil) != fails {
			t.Errorf("docker %s: %v\n%s", command, err, out.String())
			continue
		}
		if !regexp.MustCompile(`(?s)` + step.want).MatchString(out.String()) {
			t.Errorf("docker %s\nwants %s\ngot %s", command, step.want, out.String())
		}
	}
}

// serveSocket serves a swarm in memory on a socket.
func serveSocket(t *testing.T) string {
	t.Helper()
	engine := newSwarm(t)
	server := api.New(testConfig(engine, &apitest.Runtime{Swarm: engine}))
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, server, listener)
	return socket
}

// serve serves until the test ends.
func serve(t *testing.T, server *api.Server, listeners ...net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(ctx, listeners...); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
}
