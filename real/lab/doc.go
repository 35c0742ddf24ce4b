// Package lab makes hosts on this machine: each is a network namespace with an
// address, a name of its own, and a daemon that runs in it, swarmd or, to compare
// with, dockerd in swarm mode.
//
//	host, err := lab.NewHost(lab.Config{Dir: dir, Name: "swarm-00", Daemon: lab.Swarmd, Program: "bin/swarmd"})
//	err = host.Start(ctx)
//	out, err := host.Command(ctx, "docker", "service", "ls").CombinedOutput()
//	err = host.Remove()
//
// A [Cluster] is hosts on one switch, which is a bridge in a namespace of its own.
// It can make a swarm of them, and have happen to them what happens to hosts: a
// daemon is killed or stands still, a host loses its power, hosts do not hear each
// other.
//
// What there is is written down in files, and what is done is done to what the
// files say: one process may make a cluster, and another go on with it. It needs
// root, and the programs ip, nft, nsenter and unshare. Daemons do not end with the
// process that has started them: what is not removed stays.
//
// A host that loses its power loses its processes, mounts and network at once, and
// what it has told the kernel to write is written all the same: the disk of this
// machine goes on.
package lab
