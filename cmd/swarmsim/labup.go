//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/real/lab"
)

// askPeriod is how long a host may take to say who it is in lab ls.
const askPeriod = 2 * time.Second

type upFlags struct {
	managers, workers int
	images            []string
	swarmd            string
	json              bool
	noSwarm           bool
}

func newLabUp(c console, l *labFlags) *cobra.Command {
	f := &upFlags{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make hosts, and a swarm of them",
		Long: `Make hosts, and a swarm of them.

They are named swarm-00, swarm-01 and so on, the managers first, and each has a small
image that stands in for nginx:alpine and nginx:1.27.`,
		Example: "  swarmsim lab up --managers 3 --workers 2\n" +
			"  swarmsim lab up --name second --image my-app.tar",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return labUp(cmd.Context(), c, l, f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.managers, "managers", 3, "how many hosts are managers")
	flags.IntVar(&f.workers, "workers", 2, "how many more are workers")
	flags.StringArrayVar(&f.images, "image", nil, "archive, as docker save makes it, that every host is to load; may be repeated")
	flags.StringVar(&f.swarmd, "swarmd", "", "the daemon's file (default: beside swarmsim, or on PATH)")
	flags.BoolVar(&f.noSwarm, "no-swarm", false, "leave the hosts alone: no docker swarm init, no join")
	flags.BoolVar(&f.json, "json", false, "print what there is as JSON")
	return cmd
}

// checkUp says what is wrong with what is asked for, or with this machine.
func checkUp(l *labFlags, f *upFlags) error {
	if err := l.check(); err != nil {
		return err
	}
	switch {
	case f.managers < 1:
		return fmt.Errorf("--managers is %d; a swarm has at least 1", f.managers)
	case f.workers < 0 || f.managers+f.workers > lab.HostsMax:
		return fmt.Errorf("a lab has at most %d hosts, not %d managers and %d workers", lab.HostsMax, f.managers, f.workers)
	}
	for _, image := range f.images {
		if _, err := os.Stat(image); err != nil {
			return fmt.Errorf("--image: %w", err)
		}
	}
	if err := needPrograms(labPrograms()); err != nil {
		return err
	}
	program, err := findSwarmd(f.swarmd)
	f.swarmd = program
	return err
}

// findSwarmd is the daemon's file: the one that is asked for, the one beside this
// program, or the one on PATH.
func findSwarmd(asked string) (string, error) {
	if asked != "" {
		if _, err := exec.LookPath(asked); err != nil {
			return "", fmt.Errorf("--swarmd: %w", err)
		}
		return filepath.Abs(asked)
	}
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), lab.Swarmd)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(lab.Swarmd)
	if err != nil {
		return "", errors.New("there is no swarmd beside swarmsim, nor on PATH: make build makes it, or name it with --swarmd FILE")
	}
	return filepath.Abs(path)
}

// labUp makes a lab. What was made is taken away if it cannot be made whole.
func labUp(ctx context.Context, c console, l *labFlags, f *upFlags) error {
	if err := checkUp(l, f); err != nil {
		return err
	}
	if err := l.clear(c); err != nil {
		return err
	}
	dir, data := l.dirs()
	began := time.Now()
	cluster, err := lab.NewCluster(dir, data)
	if err != nil {
		return err
	}
	if err := makeLab(ctx, c, cluster, f); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return errors.Join(err, cluster.Remove())
	}
	defer cluster.Close() //nolint:errcheck // it was written down
	rows := describeLab(ctx, cluster)
	if f.json {
		return printLab(c, rows, true)
	}
	if err := printLab(c, rows, false); err != nil {
		return err
	}
	first := cluster.Names[0]
	c.say("\n%d hosts in %s. What to type next:\n\n", len(rows), seconds(time.Since(began).Seconds()))
	for _, words := range [][]string{
		{"exec", first, "--", "docker service create --name website --publish 80:80 --replicas 5 nginx:alpine"},
		{"exec", cluster.Names[len(rows)-1], "--", "curl -s http://localhost/"},
		{"kill", first},
		{"down"},
	} {
		c.say("  %s\n", l.command(words...))
	}
	if _, err := exec.LookPath("docker"); err != nil {
		c.say("\nThere is no docker CLI here: type swarmctl for docker.\n")
	}
	return nil
}

// clear sees to it that there is no such lab. One of which nothing runs, or that
// was never made whole, is taken away.
func (f *labFlags) clear(c console) error {
	dir, data := f.dirs()
	cluster, err := lab.OpenCluster(dir)
	if errors.Is(err, os.ErrNotExist) {
		if data != "" { // of a lab that ended with the machine
			return os.RemoveAll(data)
		}
		return nil
	}
	if err != nil {
		return err
	}
	alive := slices.ContainsFunc(cluster.Hosts, func(h *lab.Host) bool { return h.PID() != 0 })
	if cluster.Complete && alive {
		return errors.Join(fmt.Errorf("the lab %s is up already: look at it with %q, or end it with %q", f.title(), f.command("ls"), f.command("down")), cluster.Close())
	}
	_, _ = fmt.Fprintln(c.errs, "what is left of an earlier lab is taken away first")
	return cluster.Remove()
}

// makeLab makes what the flags ask for.
func makeLab(ctx context.Context, c console, cluster *lab.Cluster, f *upFlags) error {
	progress := func(format string, args ...any) {
		if c.terminal && !f.json {
			_, _ = fmt.Fprintf(c.errs, "\r\033[K"+format, args...)
		}
	}
	defer progress("")
	images, err := standIns(cluster.Dir, f.images)
	if err != nil {
		return err
	}
	for i := range f.managers + f.workers {
		config := lab.Config{Name: fmt.Sprintf("swarm-%02d", i), Daemon: lab.Swarmd, Program: f.swarmd, Manager: i < f.managers}
		if _, err := cluster.Add(config); err != nil {
			return err
		}
	}
	progress("starting swarmd on %d hosts", len(cluster.Hosts))
	if err := startAll(ctx, cluster, images); err != nil {
		return err
	}
	if !f.noSwarm {
		progress("making a swarm of them")
		if err := cluster.FormSwarm(ctx, swarm.Spec{}); err != nil {
			return err
		}
	}
	return cluster.MarkComplete()
}

// standIns makes the images that every lab has, and returns all that are to be
// loaded. Without busybox there are only those of the user's.
func standIns(dir string, archives []string) ([]string, error) {
	all := slices.Clone(archives)
	for name, greeting := range map[string]string{"nginx:alpine": "Hello from", "nginx:1.27": "Hello, newer, from"} {
		file := filepath.Join(dir, strings.ReplaceAll(name, ":", "-")+".tar")
		err := lab.Image{Names: []string{name}, Greeting: greeting}.WriteFile(file)
		if err != nil && len(archives) == 0 {
			return nil, fmt.Errorf("%w; or name archives of other images with --image", err)
		}
		if err == nil {
			all = append(all, file)
		}
	}
	return all, nil
}

// startAll starts all hosts and has them load the images.
func startAll(ctx context.Context, cluster *lab.Cluster, images []string) error {
	return cluster.Each(func(h *lab.Host) error {
		if err := h.Start(ctx); err != nil {
			return err
		}
		for _, image := range images {
			if err := h.Load(ctx, image); err != nil {
				return fmt.Errorf("load %s: %w", image, err)
			}
		}
		return nil
	})
}

// A labRow is what lab ls says of a host.
type labRow struct {
	Name       string    `json:"name"`
	Role       string    `json:"role"`
	Leader     bool      `json:"leader"`
	Address    string    `json:"address"`
	State      lab.State `json:"state"`
	Deaf       []string  `json:"not_heard"` // hosts that it does not hear
	DockerHost string    `json:"docker_host"`
	Directory  string    `json:"directory"`
}

func newLabLs(c console, l *labFlags) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "Show the hosts of the lab",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return l.with(func(cluster *lab.Cluster) error { return printLab(c, describeLab(cmd.Context(), cluster), asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// describeLab asks every host who it is.
func describeLab(ctx context.Context, cluster *lab.Cluster) []labRow {
	ctx, cancel := context.WithTimeout(ctx, askPeriod)
	defer cancel()
	rows := make([]labRow, len(cluster.Hosts))
	names := map[string]string{}
	for _, h := range cluster.Hosts {
		names[h.Addr] = h.Name
	}
	index := map[*lab.Host]*labRow{}
	for i, h := range cluster.Hosts {
		rows[i] = labRow{Name: h.Name, Role: "-", Address: h.Addr, State: h.State(), Deaf: []string{}, DockerHost: "unix://" + h.Socket(), Directory: h.Dir}
		for _, addr := range h.Deaf {
			rows[i].Deaf = append(rows[i].Deaf, names[addr])
		}
		index[h] = &rows[i]
	}
	_ = cluster.Each(func(h *lab.Host) error { // who does not answer has no role
		row := index[h]
		if row.State == lab.Running {
			row.Role, row.Leader = askRole(ctx, h)
		}
		return nil
	})
	return rows
}

// askRole asks a host what it is in its swarm.
func askRole(ctx context.Context, h *lab.Host) (role string, leader bool) {
	client := h.Client()
	defer client.CloseIdleConnections()
	var info system.Info
	if err := lab.Request(ctx, client, http.MethodGet, "/info", nil, &info); err != nil || info.Swarm.LocalNodeState == swarm.LocalNodeStateInactive {
		return "-", false
	}
	if !info.Swarm.ControlAvailable {
		return "worker", false
	}
	var self swarm.Node
	if err := lab.Request(ctx, client, http.MethodGet, "/nodes/"+info.Swarm.NodeID, nil, &self); err == nil && self.ManagerStatus != nil {
		leader = self.ManagerStatus.Leader
	}
	return "manager", leader
}

func printLab(c console, rows []labRow, asJSON bool) error {
	if asJSON {
		data, err := json.MarshalIndent(map[string]any{"hosts": rows}, "", "  ")
		c.say("%s\n", data)
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 8, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "HOST\tROLE\tADDRESS\tSWARMD\tDOCKER_HOST")
	for _, r := range rows {
		role, state := r.Role, string(r.State)
		if r.Leader {
			role += " (leader)"
		}
		switch len(r.Deaf) {
		case 0:
		case len(rows) - 1:
			state += ", hears nobody"
		default:
			state += ", does not hear " + strings.Join(r.Deaf, ",")
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Name, role, r.Address, state, r.DockerHost)
	}
	return table.Flush()
}

// execOn becomes a command on a host: it has the terminal, and ends as it ends.
func execOn(ctx context.Context, h *lab.Host, words []string) error {
	// Who has no docker CLI has swarmctl beside this program.
	if self, err := os.Executable(); err == nil {
		if err := os.Setenv("PATH", os.Getenv("PATH")+":"+filepath.Dir(self)); err != nil {
			return err
		}
	}
	command := h.Command(ctx, words[0], words[1:]...)
	if command.Err != nil {
		return command.Err
	}
	return fmt.Errorf("%s cannot be run: %w", words[0], syscall.Exec(command.Path, command.Args, command.Env))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
