//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/real/lab"
)

// Where labs are unless told otherwise: what must not outlive a reboot, and what
// hosts keep.
const (
	labsDir     = "/run/swarmd-lab"
	labsDataDir = "/var/lib/swarmd-lab"
	labName     = "default"
	labNameMax  = 24 // bytes: the paths of sockets below it are short
)

// labFlags say which lab is meant.
type labFlags struct {
	name string
	dir  string
}

func newLab(c console) *cobra.Command {
	f := &labFlags{}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Try a swarm of several hosts on this machine",
		Long: `Try a swarm of several hosts on this machine.

Each host is a network namespace with a name and an address, a swarmd with a
containerd of its own, and a docker socket. They are joined by a switch, which is a
bridge in a namespace of its own: nothing is seen on this machine's own network, and
there is no way from the hosts to the internet. It needs root.

  swarmsim lab up --managers 3 --workers 2     a swarm of five
  swarmsim lab exec swarm-00 -- docker node ls
  swarmsim lab kill swarm-00                   its swarmd crashes; containers live on
  swarmsim lab start swarm-00
  swarmsim lab cut swarm-01                    it is cut off from all others
  swarmsim lab heal
  swarmsim lab down                            nothing is left

What is up stays up until lab down, or until the machine is started anew.`,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.name, "name", labName, "which lab, if there are several")
	flags.StringVar(&f.dir, "dir", "", "directory that the lab is kept in (default "+labsDir+"/NAME, and what hosts keep in "+labsDataDir+"/NAME)")
	cmd.AddCommand(
		newLabUp(c, f), newLabLs(c, f), newLabExec(f),
		newLabKill(c, f), newLabStop(c, f), newLabStart(c, f), newLabPowerOff(c, f), newLabCut(c, f), newLabHeal(c, f),
		newLabLogs(c, f), newLabDown(c, f), newLabImage(),
	)
	return cmd
}

// check says what is missing for a lab to be on this machine.
func (f *labFlags) check() error {
	if os.Getuid() != 0 {
		return errors.New("a lab makes network namespaces and runs containers, which only root can: use sudo")
	}
	if f.name == "" || len(f.name) > labNameMax || strings.Trim(f.name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return fmt.Errorf("--name %q: the name of a lab is 1 to %d letters, digits, - and _", f.name, labNameMax)
	}
	// Not everybody's PATH has what only root needs.
	return os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
}

// needPrograms says which programs are to be installed, by their Debian packages.
func needPrograms(programs map[string]string) error {
	var missing, packages []string
	for _, name := range sortedKeys(programs) {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
			packages = append(packages, programs[name])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("not found on PATH: %s; install them, on Debian and Ubuntu with: apt-get install %s",
		strings.Join(missing, ", "), strings.Join(packages, " "))
}

// labPrograms are what a lab needs, with their packages.
func labPrograms() map[string]string {
	return map[string]string{
		"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "unshare": "util-linux", "containerd": "containerd", "runc": "runc",
	}
}

func (f *labFlags) dirs() (dir, data string) {
	if f.dir != "" {
		return f.dir, ""
	}
	return filepath.Join(labsDir, f.name), filepath.Join(labsDataDir, f.name)
}

// open opens the lab that is meant.
func (f *labFlags) open() (*lab.Cluster, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	dir, _ := f.dirs()
	cluster, err := lab.OpenCluster(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab %s%s; make it with: %s", f.title(), otherLabs(), f.command("up"))
	}
	return cluster, err
}

// otherLabs tells which labs there are, for who has forgotten a name.
func otherLabs() string {
	entries, _ := os.ReadDir(labsDir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) == 0 {
		return ""
	}
	return " (but there is --name " + strings.Join(names, ", --name ") + ")"
}

// title is what the lab is called.
func (f *labFlags) title() string {
	if f.dir != "" {
		return "in " + f.dir
	}
	return f.name
}

// command is what to type for something to be done with this lab.
func (f *labFlags) command(words ...string) string {
	line := append([]string{"swarmsim", "lab"}, words...)
	if f.dir != "" {
		line = append(line[:3:3], append([]string{"--dir", f.dir}, line[3:]...)...)
	} else if f.name != labName {
		line = append(line[:3:3], append([]string{"--name", f.name}, line[3:]...)...)
	}
	return strings.Join(line, " ")
}

// with does something with the lab, and closes it.
func (f *labFlags) with(do func(*lab.Cluster) error) error {
	cluster, err := f.open()
	if err != nil {
		return err
	}
	return errors.Join(do(cluster), cluster.Close())
}

// hosts finds hosts of the lab by their names.
func (f *labFlags) hosts(cluster *lab.Cluster, names []string) ([]*lab.Host, error) {
	var found []*lab.Host
	for _, name := range names {
		h := cluster.Host(name)
		if h == nil {
			return nil, fmt.Errorf("the lab has no host %q; it has %s", name, strings.Join(cluster.Names, ", "))
		}
		found = append(found, h)
	}
	return found, nil
}

// onHosts is a command that does something to each of the hosts that it names.
func (f *labFlags) onHosts(c console, cmd *cobra.Command, done string, do func(ctx context.Context, h *lab.Host) error) *cobra.Command {
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.with(func(cluster *lab.Cluster) error {
			hosts, err := f.hosts(cluster, args)
			if err != nil {
				return err
			}
			for _, h := range hosts {
				if err := do(cmd.Context(), h); err != nil {
					return err
				}
				c.say("%s: %s\n", h.Name, done)
			}
			return nil
		})
	}
	return cmd
}

// say prints a line for people.
func (c console) say(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format, args...) }

func newLabKill(c console, f *labFlags) *cobra.Command {
	return f.onHosts(c, &cobra.Command{
		Use:   "kill HOST...",
		Short: "Crash the swarmd of hosts (kill -9); their containers live on",
	}, "swarmd was killed, its containers live on", func(_ context.Context, h *lab.Host) error {
		if h.PID() == 0 {
			return fmt.Errorf("swarmd of %s does not run (it is %s); start it with: %s", h.Name, h.State(), f.command("start", h.Name))
		}
		return h.Kill()
	})
}

func newLabStop(c console, f *labFlags) *cobra.Command {
	return f.onHosts(c, &cobra.Command{
		Use:   "stop HOST...",
		Short: "Have the swarmd of hosts stand still (SIGSTOP) until they are started",
	}, "swarmd stands still", func(_ context.Context, h *lab.Host) error {
		switch s := h.State(); s {
		case lab.Running:
			return h.Pause()
		case lab.Paused:
			return nil
		case lab.Down, lab.Off:
			return fmt.Errorf("swarmd of %s does not run (it is %s); start it with: %s", h.Name, s, f.command("start", h.Name))
		default:
			return fmt.Errorf("host %s is %s", h.Name, s)
		}
	})
}

func newLabStart(c console, f *labFlags) *cobra.Command {
	return f.onHosts(c, &cobra.Command{
		Use:   "start HOST...",
		Short: "Start hosts that were killed, stopped or switched off",
	}, "swarmd runs", func(ctx context.Context, h *lab.Host) error { return h.Start(ctx) })
}

func newLabPowerOff(c console, f *labFlags) *cobra.Command {
	return f.onHosts(c, &cobra.Command{
		Use:   "power-off HOST...",
		Short: "Cut the power of hosts: swarmd and all containers are gone at once, and nobody is told",
	}, "has no power", func(_ context.Context, h *lab.Host) error { return h.PowerOff() })
}

func newLabCut(c console, f *labFlags) *cobra.Command {
	oneWay := false
	cmd := &cobra.Command{
		Use:   "cut HOST [HOST]",
		Short: "Cut two hosts off from each other, or one from all others, until they are healed",
		Example: "  swarmsim lab cut swarm-00 swarm-01             neither hears the other\n" +
			"  swarmsim lab cut --one-way swarm-00 swarm-01   swarm-01 does not hear swarm-00\n" +
			"  swarmsim lab cut swarm-00                      it is cut off from all",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			return f.between(c, args, !oneWay, "do not hear each other", "does not hear", (*lab.Cluster).Cut)
		},
	}
	cmd.Flags().BoolVar(&oneWay, "one-way", false, "only what the first sends is lost")
	return cmd
}

func newLabHeal(c console, f *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "heal [HOST] [HOST]",
		Short: "Mend what was cut: between two hosts, of one host, or all of it",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return f.between(c, args, true, "hear each other", "hears", (*lab.Cluster).Heal)
		},
	}
}

// between does something to the ways between hosts: two, one and all others, or
// all.
func (f *labFlags) between(c console, names []string, both bool, all, one string, do func(cluster *lab.Cluster, from, to *lab.Host) error) error {
	return f.with(func(cluster *lab.Cluster) error {
		hosts, err := f.hosts(cluster, names)
		if err != nil {
			return err
		}
		from, to := cluster.Hosts, cluster.Hosts
		if len(hosts) > 0 {
			from = hosts[:1]
		}
		if len(hosts) > 1 {
			to = hosts[1:]
		}
		for _, a := range from {
			for _, b := range to {
				if a == b {
					continue
				}
				err := do(cluster, a, b)
				if both && err == nil {
					err = do(cluster, b, a)
				}
				if err != nil {
					return err
				}
			}
		}
		switch {
		case len(names) == 0:
			c.say("all hosts %s\n", all)
		case len(names) == 1 && both:
			c.say("%s and all others %s\n", names[0], all)
		case len(names) == 1:
			c.say("nobody %s %s\n", strings.ReplaceAll(one, "does not hear", "hears"), names[0])
		case both:
			c.say("%s and %s %s\n", names[0], names[1], all)
		default:
			c.say("%s %s %s\n", names[1], one, names[0])
		}
		return nil
	})
}

func newLabExec(f *labFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec HOST [--] COMMAND [ARG...]",
		Short: "Run a command on a host, with DOCKER_HOST set; without a command, a shell",
		Example: "  swarmsim lab exec swarm-00 -- docker service create --name website --publish 80:80 --replicas 5 nginx:alpine\n" +
			"  swarmsim lab exec swarm-03 -- curl -s http://localhost/\n" +
			"  swarmsim lab exec swarm-00",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := f.open()
			if err != nil {
				return err
			}
			hosts, err := f.hosts(cluster, args[:1])
			if err == nil && hosts[0].State() == lab.Off {
				err = fmt.Errorf("%s has no power; start it with: %s", args[0], f.command("start", args[0]))
			}
			// Not locked while the command runs: that may be a shell.
			if err := errors.Join(err, cluster.Close()); err != nil {
				return err
			}
			words := args[1:]
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			}
			if len(words) == 0 {
				words = []string{"sh"}
			}
			return execOn(cmd.Context(), hosts[0], words)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newLabLogs(c console, f *labFlags) *cobra.Command {
	follow, lines := false, 50
	cmd := &cobra.Command{
		Use:   "logs HOST",
		Short: "Show what the swarmd of a host says",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := f.open()
			if err != nil {
				return err
			}
			hosts, err := f.hosts(cluster, args)
			if err := errors.Join(err, cluster.Close()); err != nil {
				return err
			}
			words := []string{"-n", fmt.Sprint(lines), hosts[0].LogFile()}
			if follow {
				words = append([]string{"-F"}, words...)
			}
			tail := exec.CommandContext(cmd.Context(), "tail", words...)
			tail.Stdout, tail.Stderr = c.out, c.errs
			err = tail.Run()
			if cmd.Context().Err() != nil { // the way to end it
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is said")
	cmd.Flags().IntVarP(&lines, "tail", "n", lines, "lines to begin with")
	return cmd
}

func newLabDown(c console, f *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the lab away, whatever state it is in: nothing is left",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cluster, err := f.open()
			if err != nil {
				return err
			}
			if err := cluster.Remove(); err != nil {
				return fmt.Errorf("not everything could be taken away; try again with: %s\n%w", f.command("down"), err)
			}
			if f.dir == "" { // the last one takes the place of labs with it
				_, _ = os.Remove(labsDir), os.Remove(labsDataDir)
			}
			c.say("the lab is gone\n")
			return nil
		},
	}
}

func newLabImage() *cobra.Command {
	image := lab.Image{}
	cmd := &cobra.Command{
		Use:   "image FILE NAME...",
		Short: "Make the archive of a small image that stands in for others, from busybox",
		Long: "Make the archive of a small image that stands in for others, from busybox.\n\n" +
			"Its containers serve a page on port 80 that tells their host name.",
		Example: "  swarmsim lab image nginx.tar nginx:alpine && docker load -i nginx.tar",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			image.Names = args[1:]
			return image.WriteFile(args[0])
		},
	}
	cmd.Flags().StringVar(&image.Greeting, "greeting", "Hello from", "what the page says before the host name")
	return cmd
}
