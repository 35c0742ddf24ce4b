package runtime

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/agent"
)

// inside reads, from within a container, what each option of a spec has become.
func inside(t *testing.T, h *testHost) {
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "note"), []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	yes := true
	addr := netip.MustParseAddr
	for _, c := range []struct {
		option string
		spec   swarm.ContainerSpec
		more   func(*agent.Container)
		script string // "" when spec says what runs
		want   string // lines
	}{
		{option: "command and args", spec: swarm.ContainerSpec{Command: []string{"echo"}, Args: []string{"a b", "c"}}, want: "a b c"},
		{option: "args go to the image's entrypoint", spec: swarm.ContainerSpec{Image: "entry:1", Args: []string{"x"}}, want: "entry x"},
		{option: "the image's command", spec: swarm.ContainerSpec{Image: "entry:1"}, want: "entry cmd"},
		{
			option: "env", spec: swarm.ContainerSpec{Env: []string{"A=1", "B=x=y z"}}, script: `echo $A; echo "$B"; echo $PATH`,
			want: "1\nx=y z\n" + defaultPath,
		},
		{
			option: "env of the image", spec: swarm.ContainerSpec{Image: "entry:1", Command: sh("echo $IMG $OVER ${GONE-unset}"), Env: []string{"OVER=user", "GONE"}},
			want: "image user unset",
		},
		{option: "dir", spec: swarm.ContainerSpec{Dir: "/made/on/demand"}, script: "pwd", want: "/made/on/demand"},
		{option: "user by name", spec: swarm.ContainerSpec{User: "web"}, script: "id -u; id -g; id -G", want: "33\n44\n44 10"},
		{option: "user by number", spec: swarm.ContainerSpec{User: "1234:55"}, script: "id -u; id -g; id -G", want: "1234\n55\n55"},
		{option: "user and group by name", spec: swarm.ContainerSpec{User: "web:extra"}, script: "id -u; id -g", want: "33\n55"},
		{option: "groups", spec: swarm.ContainerSpec{User: "1234", Groups: []string{"extra", "777"}}, script: "id -G", want: "0 55 777"},
		{option: "root is in its groups", script: "id -G", want: "0 10"},
		{option: "hostname", spec: swarm.ContainerSpec{Hostname: "web-1"}, script: "hostname; cat /etc/hostname; echo $HOSTNAME", want: "web-1\nweb-1\nweb-1"},
		{
			option: "hosts", spec: swarm.ContainerSpec{Hosts: []string{"1.2.3.4 foo bar"}},
			script: "grep foo /etc/hosts | tr '\\t' ' '; grep -c localhost /etc/hosts", want: "1.2.3.4 foo bar\n2",
		},
		{
			option: "address", spec: swarm.ContainerSpec{Hostname: "me"}, more: func(c *agent.Container) { c.Address = addr("172.30.0.9") },
			script: "grep 172 /etc/hosts | tr '\\t' ' '", want: "172.30.0.9 me",
		},
		{option: "dns", spec: swarm.ContainerSpec{DNSConfig: &swarm.DNSConfig{
			Nameservers: []netip.Addr{addr("9.9.9.9"), addr("2001:db8::1")}, Search: []string{"a.test", "b.test"}, Options: []string{"ndots:2"},
		}}, script: "grep -v '#' /etc/resolv.conf", want: "nameserver 9.9.9.9\nnameserver 2001:db8::1\nsearch a.test b.test\noptions ndots:2"},
		{option: "default capabilities", script: "grep CapEff /proc/self/status | tr '\\t' ' '", want: "CapEff: 00000000a80425fb"},
		{
			option: "capabilities of users", spec: swarm.ContainerSpec{User: "33"}, script: "grep -E 'CapEff|CapBnd' /proc/self/status | tr '\\t' ' '",
			want: "CapEff: 0000000000000000\nCapBnd: 00000000a80425fb",
		},
		{
			option: "capability add", spec: swarm.ContainerSpec{CapabilityAdd: []string{"CAP_NET_ADMIN"}}, script: "grep CapEff /proc/self/status | tr '\\t' ' '",
			want: "CapEff: 00000000a80435fb",
		},
		{
			option: "capability drop all", spec: swarm.ContainerSpec{CapabilityDrop: []string{"ALL"}, CapabilityAdd: []string{"net_raw"}},
			script: "grep CapEff /proc/self/status | tr '\\t' ' '", want: "CapEff: 0000000000002000",
		},
		{
			option: "sysctls", spec: swarm.ContainerSpec{Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "2000 3000", "kernel.shmmax": "123456"}},
			script: "cat /proc/sys/net/ipv4/ip_local_port_range | tr '\\t' ' '; cat /proc/sys/kernel/shmmax; cat /proc/sys/net/ipv4/ip_unprivileged_port_start", want: "2000 3000\n123456\n0",
		},
		{
			option: "ulimits", spec: swarm.ContainerSpec{Ulimits: []*units.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: -1, Hard: -1}}},
			script: "ulimit -Sn; ulimit -Hn; ulimit -c", want: "100\n200\nunlimited",
		},
		{option: "oom score", spec: swarm.ContainerSpec{OomScoreAdj: 321}, script: "cat /proc/self/oom_score_adj", want: "321"},
		{option: "tty", spec: swarm.ContainerSpec{TTY: true}, script: "test -t 0 && test -t 1 && echo yes $TERM", want: "yes xterm"},
		{option: "no tty", script: "test -t 1 || echo no", want: "no"},
		{option: "read-only root", spec: swarm.ContainerSpec{ReadOnly: true}, script: "touch /x 2>/dev/null || echo refused; touch /dev/shm/y && echo shm", want: "refused\nshm"},
		{option: "init", spec: swarm.ContainerSpec{Init: &yes}, script: "tr '\\0' ' ' </proc/1/cmdline | grep -c docker-init; test $$ != 1 && echo child", want: "1\nchild"},
		{
			option: "no new privileges", spec: swarm.ContainerSpec{Privileges: &swarm.Privileges{NoNewPrivileges: true}},
			script: "grep NoNewPrivs /proc/self/status | tr '\\t' ' '", want: "NoNewPrivs: 1",
		},
		{option: "seccomp", script: "grep ^Seccomp: /proc/self/status | tr '\\t' ' '", want: "Seccomp: 2"},
		{
			option: "seccomp unconfined", spec: swarm.ContainerSpec{Privileges: &swarm.Privileges{Seccomp: &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}}},
			script: "grep ^Seccomp: /proc/self/status | tr '\\t' ' '", want: "Seccomp: 0",
		},
		{
			option: "seccomp custom", spec: swarm.ContainerSpec{Privileges: &swarm.Privileges{Seccomp: &swarm.SeccompOpts{
				Mode:    swarm.SeccompModeCustom,
				Profile: []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`),
			}}},
			script: "mkdir /x 2>/dev/null || echo refused", want: "refused",
		},
		{
			option: "bind mount", spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: shared, Target: "/host"}}},
			script: "cat /host/note; echo back >/host/reply && echo written", want: "of the host\nwritten",
		},
		{
			option: "read-only bind mount", spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: shared, Target: "/host", ReadOnly: true}}},
			script: "cat /host/note; touch /host/x 2>/dev/null || echo refused", want: "of the host\nrefused",
		},
		{option: "propagation", spec: swarm.ContainerSpec{Mounts: []mount.Mount{{
			Type: mount.TypeBind, Source: shared, Target: "/host",
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRSlave},
		}}}, script: "grep -c ' /host .*master:' /proc/self/mountinfo || true", want: slaveCount(t, shared)},
		{
			option: "bind of a file", spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: filepath.Join(shared, "note"), Target: "/etc/note"}}},
			script: "cat /etc/note", want: "of the host",
		},
		{
			option: "tmpfs", spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/scratch", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o700}}}},
			script: "grep ' /scratch ' /proc/mounts | grep -o 'tmpfs.*size=1024k,mode=700' | grep -c noexec; stat -c %a /scratch", want: "1\n700",
		},
		{
			option: "image mount", spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeImage, Source: "entry:1", Target: "/img"}}},
			script: "cat /img/data/seed; touch /img/x 2>/dev/null || echo refused", want: "from the image\nrefused",
		},
		{option: "masked paths", script: "wc -c </proc/interrupts; touch /proc/sys/kernel/x 2>/dev/null || echo refused", want: "0\nrefused"},
		{option: "devices", script: "ls -d /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx | wc -l; head -c1 /dev/mem 2>/dev/null || echo refused", want: "7\nrefused"},
		{option: "shm", script: "grep ' /dev/shm ' /proc/mounts | grep -c size=65536k", want: "1"},
		{option: "stdin is empty", script: "cat; echo done", want: "done"},
		{option: "limits", more: func(c *agent.Container) {
			c.Limits = swarm.Limit{MemoryBytes: 64 << 20, NanoCPUs: 500_000_000, Pids: 50}
		}, script: limitsScript(h), want: limitsWanted(h)},
	} {
		t.Run(c.option, func(t *testing.T) {
			t.Parallel()
			spec := c.spec
			if c.script != "" && spec.Command == nil {
				spec.Command = sh(c.script)
			}
			described := task("inside", spec)
			if c.more != nil {
				c.more(&described)
			}
			got := strings.ReplaceAll(h.said(t, described), "\r\n", "\n")
			if strings.TrimSpace(got) != c.want {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
			h.gone(t, described)
		})
	}
}

// slaveCount is what a slave mount says of itself: only one whose source is
// shared has a master.
func slaveCount(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	best, shared := "", false
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		point := strings.TrimSuffix(fields[4], "/")
		if strings.HasPrefix(dir, point+"/") && len(point) >= len(best) {
			best, shared = point, strings.Contains(line, " shared:")
		}
	}
	if shared {
		return "1"
	}
	return "0"
}

// limitsScript reads the limits through the container's view of its groups.
func limitsScript(h *testHost) string {
	if h.host.cgroup2 {
		return "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max"
	}
	return "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max"
}

func limitsWanted(h *testHost) string {
	if h.host.cgroup2 {
		return "67108864\n50000 100000\n50"
	}
	return "67108864\n50000\n50"
}
