// Package lab makes hosts on this machine: each is a network namespace with an
// address, a name of its own, and a daemon that runs in it, swarmd or, to compare
// with, dockerd in swarm mode.
//
//	host, err := lab.NewHost(lab.Config{Dir: dir, Name: "swarm-00", Daemon: lab.Swarmd, Program: "bin/swarmd"})
//	err = host.Start(ctx)
//	out, err := host.Command(ctx, "docker", "service", "ls").CombinedOutput()
//	err = host.Remove()
//
// It needs root, and the programs ip, nsenter and unshare. Daemons do not end with
// the process that has started them: what is not removed stays.
package lab
