package api

import (
	"net/http"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

func (s *Server) listNodes(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	answer, err := call[control.Nodes](r.Context(), s.engine, control.NodeList{Filters: filters})
	if err != nil {
		return err
	}
	writeList(w, answer.Nodes, func(_ int, node *state.Node) swarm.Node { return renderNode(node, answer.Leader, answer.Roots) })
	return nil
}

func (s *Server) inspectNode(w http.ResponseWriter, r *http.Request) error {
	ref := r.PathValue("ref")
	answer, err := call[control.Nodes](r.Context(), s.engine, control.NodeInspect{Ref: ref})
	if err != nil {
		return err
	}
	node, err := one("node", ref, answer.Nodes)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, renderNode(node, answer.Leader, answer.Roots))
	return nil
}

func (s *Server) updateNode(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.NodeSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	index, err := indexOf(queryOf(r), "node")
	if err != nil {
		return err
	}
	update := control.NodeUpdate{Ref: r.PathValue("ref"), Version: index, Spec: spec}
	if _, err := call[control.Done](r.Context(), s.engine, update); err != nil {
		return err
	}
	done(w)
	return nil
}

func (s *Server) removeNode(w http.ResponseWriter, r *http.Request) error {
	remove := control.NodeRemove{Ref: r.PathValue("ref"), Force: loose(queryOf(r), "force")}
	if _, err := call[control.Done](r.Context(), s.engine, remove); err != nil {
		return err
	}
	done(w)
	return nil
}
