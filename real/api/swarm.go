package api

import (
	"cmp"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
)

func (s *Server) inspectSwarm(w http.ResponseWriter, r *http.Request) error {
	answer, err := call[control.Swarm](r.Context(), s.engine, control.SwarmInspect{})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, renderSwarm(answer.Cluster))
	return nil
}

// initSwarm resolves the addresses, which only the host can, and leaves
// everything else to the engine.
func (s *Server) initSwarm(w http.ResponseWriter, r *http.Request) error {
	var request struct {
		swarm.InitRequest
		DefaultAddrPool []string
	}
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if err := s.notMember(r, request.ForceNewCluster); err != nil {
		return err
	}
	pools, err := parsePools(request.DefaultAddrPool)
	if err != nil {
		return err
	}
	addresses, err := resolve(s.interfaces, request.ListenAddr, cmp.Or(request.AdvertiseAddr, s.advertise), cmp.Or(request.DataPathAddr, s.dataPath))
	if err != nil {
		return err
	}
	spec := request.Spec
	spec.EncryptionConfig.AutoLockManagers = spec.EncryptionConfig.AutoLockManagers || request.AutoLockManagers
	answer, err := call[control.Created](r.Context(), s.engine, control.SwarmInit{
		ListenAddr:      addresses.listen,
		AdvertiseAddr:   addresses.advertise,
		DataPathAddr:    addresses.dataPath,
		DataPathPort:    request.DataPathPort,
		ForceNewCluster: request.ForceNewCluster,
		Spec:            spec,
		Availability:    request.Availability,
		DefaultAddrPool: pools,
		SubnetSize:      request.SubnetSize,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer.ID)
	return nil
}

// joinSwarm resolves the addresses of this host and leaves everything else to the
// engine.
func (s *Server) joinSwarm(w http.ResponseWriter, r *http.Request) error {
	var request swarm.JoinRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if err := s.notMember(r, false); err != nil {
		return err
	}
	remotes, err := remoteAddresses(request.RemoteAddrs)
	if err != nil {
		return err
	}
	addresses, err := resolveJoining(s.interfaces, request.ListenAddr, cmp.Or(request.AdvertiseAddr, s.advertise), cmp.Or(request.DataPathAddr, s.dataPath), remotes)
	if err != nil {
		return err
	}
	_, err = call[control.Done](r.Context(), s.engine, control.SwarmJoin{
		ListenAddr:    addresses.listen,
		AdvertiseAddr: addresses.advertise,
		DataPathAddr:  addresses.dataPath,
		RemoteAddrs:   remotes,
		JoinToken:     request.JoinToken,
		Availability:  request.Availability,
	})
	if err != nil {
		return err
	}
	done(w)
	return nil
}

// notMember refuses a node that is in a swarm already, before its addresses
// are looked at, as Docker does.
func (s *Server) notMember(r *http.Request, force bool) error {
	info, err := call[control.NodeInfo](r.Context(), s.engine, control.Info{})
	if err != nil || force || info.State == swarm.LocalNodeStateInactive || info.State == "" {
		return err
	}
	return fail(http.StatusServiceUnavailable, `This node is already part of a swarm. `+
		`Use "docker swarm leave" to leave this swarm and join another one.`)
}

func parsePools(pools []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, pool := range pools {
		prefix, err := netip.ParsePrefix(pool)
		if err != nil {
			return nil, badRequest("invalid default address pool %q: it must be a network such as 10.0.0.0/8", pool)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

func (s *Server) leaveSwarm(w http.ResponseWriter, r *http.Request) error {
	leave := control.SwarmLeave{Force: loose(queryOf(r), "force")}
	if _, err := call[control.Done](r.Context(), s.engine, leave); err != nil {
		return err
	}
	done(w)
	return nil
}

func (s *Server) updateSwarm(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.Spec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	query := queryOf(r)
	index, err := indexOf(query, "swarm")
	if err != nil {
		return err
	}
	update := control.SwarmUpdate{Version: index, Spec: spec}
	for key, rotate := range map[string]*bool{
		"rotateWorkerToken":      &update.RotateWorker,
		"rotateManagerToken":     &update.RotateManager,
		"rotateManagerUnlockKey": &update.RotateUnlock,
	} {
		value := query.Get(key)
		if value == "" {
			continue
		}
		if *rotate, err = strconv.ParseBool(value); err != nil {
			return badRequest("invalid value for %s: %s", key, value)
		}
	}
	if _, err := call[control.Done](r.Context(), s.engine, update); err != nil {
		return err
	}
	done(w)
	return nil
}

func (s *Server) unlockKey(w http.ResponseWriter, r *http.Request) error {
	answer, err := call[control.UnlockKey](r.Context(), s.engine, control.SwarmUnlockKey{})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, swarm.UnlockKeyResponse{UnlockKey: answer.Key})
	return nil
}

// unlockSwarm gives a locked manager its key.
func (s *Server) unlockSwarm(w http.ResponseWriter, r *http.Request) error {
	var request swarm.UnlockRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if _, err := call[control.Done](r.Context(), s.engine, control.SwarmUnlock{Key: request.UnlockKey}); err != nil {
		return err
	}
	done(w)
	return nil
}
