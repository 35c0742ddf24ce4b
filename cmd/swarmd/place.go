package main

import (
	"cmp"
	"fmt"
	"net"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/real/api"
)

// place settles, before anything runs, where this node listens and where others reach
// it: as the command line says, or as when it became a member. The others learn of
// another address from the node itself, which knows where the managers are: when it
// opens a session with the leader. The log names managers by their IDs, and needs no
// change.
func (d *daemon) place(id engine.Identity) (engine.Identity, error) {
	interfaces, err := api.SystemInterfaces()
	if err != nil {
		return id, err
	}
	if d.options.listen != "" {
		if d.peers.listenAddr, err = api.ResolveListen(interfaces, d.options.listen); err != nil {
			return id, fmt.Errorf("--listen-addr %q: %w", d.options.listen, err)
		}
	}
	_, port, err := net.SplitHostPort(cmp.Or(id.Addr, listenDefault))
	if err != nil {
		return id, fmt.Errorf("this node is said to be at %q: %w", id.Addr, err)
	}
	wanted := cmp.Or(d.options.advertise, id.Addr)
	if wanted == "" {
		return id, nil
	}
	addr, local, err := api.ResolveAdvertise(interfaces, wanted, port)
	if err != nil {
		return id, fmt.Errorf("--advertise-addr %q: %w", wanted, err)
	}
	if !local {
		d.log.Warn("no interface of this host has the address that other nodes reach it at: if the host's address has changed, start swarmd with --advertise-addr", "addr", addr)
	}
	dataPath := ""
	if d.options.dataPath != "" {
		if dataPath, err = api.ResolveDataPath(interfaces, d.options.dataPath); err != nil {
			return id, fmt.Errorf("--data-path-addr %q: %w", d.options.dataPath, err)
		}
	}
	return d.membership.move(id, moved(id, addr, dataPath))
}

// moved is a member that others reach at another address, and whose containers'
// traffic goes by dataPath, or, where that is "", by what it has gone by: if that was
// the address that others reached it at, it goes with it.
func moved(id engine.Identity, addr, dataPath string) engine.Identity {
	before, _, err := net.SplitHostPort(id.Addr)
	after, _, _ := net.SplitHostPort(addr)
	if err == nil && id.DataPath == before {
		id.DataPath = after
	}
	id.Addr, id.DataPath = addr, cmp.Or(dataPath, id.DataPath)
	return id
}
