package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newNode(s *session) *cobra.Command {
	return group("node", "Manage Swarm nodes",
		newNodeDemote(s), newNodeInspect(s), newNodeList(s), newNodePromote(s), newNodePs(s), newNodeRemove(s), newNodeUpdate(s))
}

// nodeRef turns self into this node's ID.
func (s *session) nodeRef(ctx context.Context, name string) (string, error) {
	if name != "self" {
		return name, nil
	}
	info, err := s.client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", err
	}
	if info.Info.Swarm.NodeID == "" {
		// Asking is what brings the daemon's own words.
		_, err := s.client.NodeList(ctx, client.NodeListOptions{})
		if err == nil {
			err = errors.New("no node ID: the daemon does not say which node it is")
		}
		return "", err
	}
	return info.Info.Swarm.NodeID, nil
}

func newNodeList(s *session) *cobra.Command {
	l := &listing{
		columns: []column{
			{"ID", "ID"},
			{"Self", ""},
			{"Hostname", "HOSTNAME"},
			{"Status", "STATUS"},
			{"Availability", "AVAILABILITY"},
			{"ManagerStatus", "MANAGER STATUS"},
			{"EngineVersion", "ENGINE VERSION"},
			{"TLSStatus", "TLS STATUS"},
		},
		shown: "table {{.ID}} {{if .Self}}*{{else}} {{ end }}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
	}
	c := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List nodes in the swarm",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := s.client.NodeList(c.Context(), client.NodeListOptions{Filters: l.query()})
			if err != nil {
				return err
			}
			var info client.SystemInfoResult
			if len(found.Items) > 0 && !l.quiet {
				if info, err = s.client.Info(c.Context(), client.InfoOptions{}); err != nil {
					return err
				}
			}
			slices.SortFunc(found.Items, func(a, b swarm.Node) int { return compareNatural(a.Description.Hostname, b.Description.Hostname) })
			rows := make([]row, 0, len(found.Items))
			for _, node := range found.Items {
				rows = append(rows, nodeRow(node, info.Info.Swarm))
			}
			return l.write(s, rows)
		},
	}
	l.flags(c, "Only display IDs")
	return c
}

func nodeRow(node swarm.Node, info swarm.Info) row {
	manager := ""
	if node.ManagerStatus != nil {
		manager = string(node.ManagerStatus.Reachability)
		if node.ManagerStatus.Leader {
			manager = "leader"
		}
	}
	certificates := "Unknown"
	empty := func(t swarm.TLSInfo) bool {
		return t.TrustRoot == "" && len(t.CertIssuerSubject) == 0 && len(t.CertIssuerPublicKey) == 0
	}
	if info.Cluster != nil && !empty(info.Cluster.TLSInfo) && !empty(node.Description.TLSInfo) {
		certificates = "Needs Rotation"
		if mine, swarms := node.Description.TLSInfo, info.Cluster.TLSInfo; mine.TrustRoot == swarms.TrustRoot &&
			bytes.Equal(mine.CertIssuerSubject, swarms.CertIssuerSubject) && bytes.Equal(mine.CertIssuerPublicKey, swarms.CertIssuerPublicKey) {
			certificates = "Ready"
		}
	}
	return row{
		"ID": node.ID, "Self": node.ID == info.NodeID, "Hostname": node.Description.Hostname,
		"Status": title(string(node.Status.State)), "Availability": title(string(node.Spec.Availability)),
		"ManagerStatus": title(manager), "EngineVersion": node.Description.Engine.EngineVersion, "TLSStatus": certificates,
	}
}

func newNodePs(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "ps [OPTIONS] [NODE...]",
		Short:             "List tasks running on one or more nodes, defaults to current node",
		ValidArgsFunction: s.completeNodes,
	}
	l := newTaskListing(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			args = []string{"self"}
		}
		ctx := c.Context()
		var tasks []swarm.Task
		failed := each(args, func(name string) error {
			ref, err := s.nodeRef(ctx, name)
			if err != nil {
				return err
			}
			node, err := s.client.NodeInspect(ctx, ref, client.NodeInspectOptions{})
			if err != nil {
				return err
			}
			filters := l.query().Clone()
			delete(filters, "node")
			found, err := s.client.TaskList(ctx, client.TaskListOptions{Filters: filters.Add("node", node.Node.ID)})
			tasks = append(tasks, found.Items...)
			return err
		})
		if len(tasks) == 0 && failed != nil {
			return failed
		}
		return errors.Join(l.show(ctx, s, tasks), failed)
	}
	return c
}

func newNodeInspect(s *session) *cobra.Command {
	var (
		format string
		pretty bool
	)
	c := &cobra.Command{
		Use:               "inspect [OPTIONS] self|NODE [NODE...]",
		Short:             "Display detailed information on one or more nodes",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			if pretty && format != "" {
				return errors.New("--format is incompatible with human friendly format")
			}
			get := func(name string) (any, []byte, error) {
				ref, err := s.nodeRef(c.Context(), name)
				if err != nil {
					return nil, nil, err
				}
				found, err := s.client.NodeInspect(c.Context(), ref, client.NodeInspectOptions{})
				return found.Node, found.Raw, err
			}
			if !pretty && format != "pretty" {
				return plainExit(inspect(s, args, format, get))
			}
			for _, name := range args {
				found, _, err := get(name)
				if err != nil {
					return err
				}
				node, _ := found.(swarm.Node)
				s.print("%s\n", prettyNode(node))
			}
			return nil
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	c.Flags().BoolVar(&pretty, "pretty", false, "Print the information in a human friendly format")
	return c
}

// prettyNode describes a node for people, in docker's layout.
func prettyNode(node swarm.Node) string {
	const nano = 1e9
	p, description := &page{}, node.Description
	p.line("ID:\t\t\t%s", node.ID)
	p.lineIf(node.Spec.Name != "", "Name:\t\t\t%s", node.Spec.Name)
	p.lineIf(len(node.Spec.Labels) > 0, "Labels:")
	p.pairs(node.Spec.Labels, " - %s%s", "=")
	p.line("Hostname:              \t%s", description.Hostname)
	p.line("Joined at:             \t%s", formatter.PrettyPrint(node.CreatedAt))
	p.line("Status:\n State:\t\t\t%s", title(string(node.Status.State)))
	p.lineIf(node.Status.Message != "", " Message:              \t%s", title(node.Status.Message))
	p.line(" Availability:         \t%s", title(string(node.Spec.Availability)))
	p.lineIf(node.Status.Addr != "", " Address:\t\t%s", node.Status.Addr)
	if manager := node.ManagerStatus; manager != nil {
		leader := "No"
		if manager.Leader {
			leader = "Yes"
		}
		p.line("Manager Status:\n Address:\t\t%s\n Raft Status:\t\t%s\n Leader:\t\t%s", manager.Addr, title(string(manager.Reachability)), leader)
	}
	p.line("Platform:\n Operating System:\t%s\n Architecture:\t\t%s", description.Platform.OS, description.Platform.Architecture)
	memory := ""
	if description.Resources.MemoryBytes != 0 {
		memory = units.BytesSize(float64(description.Resources.MemoryBytes))
	}
	p.line("Resources:\n CPUs:\t\t\t%d\n Memory:\t\t%s", description.Resources.NanoCPUs/nano, memory)
	plugins := map[string][]string{}
	for _, plugin := range description.Engine.Plugins {
		plugins[plugin.Type] = append(plugins[plugin.Type], plugin.Name)
	}
	p.lineIf(len(plugins) > 0, "Plugins:")
	for _, kind := range slices.Sorted(maps.Keys(plugins)) {
		p.line(" %s:\t\t%s", kind, strings.Join(plugins[kind], ", "))
	}
	p.line("Engine Version:\t\t%s", description.Engine.EngineVersion)
	p.lineIf(len(description.Engine.Labels) > 0, "Engine Labels:")
	p.pairs(description.Engine.Labels, " - %s%s", "=")
	if tls := description.TLSInfo; tls.TrustRoot != "" || len(tls.CertIssuerPublicKey) > 0 || len(tls.CertIssuerSubject) > 0 {
		p.line("TLS Info:\n TrustRoot:\n%s\n Issuer Subject:\t%s\n Issuer Public Key:\t%s", tls.TrustRoot,
			base64.StdEncoding.EncodeToString(tls.CertIssuerSubject), base64.StdEncoding.EncodeToString(tls.CertIssuerPublicKey))
	}
	return strings.TrimSuffix(p.String(), "\n")
}

func newNodeUpdate(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "update [OPTIONS] NODE",
		Short:             "Update a node",
		Args:              exactArgs(1),
		ValidArgsFunction: s.completeNodes,
	}
	f := request.NewNode(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		return s.updateNodes(c.Context(), args, func(node *swarm.Node) error { return f.Change(&node.Spec) },
			func(name string) { s.print("%s\n", name) })
	}
	_ = c.RegisterFlagCompletionFunc("role", oneOf("worker", "manager"))
	_ = c.RegisterFlagCompletionFunc("availability", oneOf("active", "pause", "drain"))
	return c
}

// errUnchanged ends the update of a node that is as it should be.
var errUnchanged = errors.New("nothing to change")

// updateNodes changes nodes one after another, up to the first error.
func (s *session) updateNodes(ctx context.Context, names []string, change func(*swarm.Node) error, done func(name string)) error {
	for _, name := range names {
		found, err := s.client.NodeInspect(ctx, name, client.NodeInspectOptions{})
		if err != nil {
			return err
		}
		node := found.Node
		if err := change(&node); errors.Is(err, errUnchanged) {
			continue
		} else if err != nil {
			return err
		}
		if _, err := s.client.NodeUpdate(ctx, node.ID, client.NodeUpdateOptions{Version: node.Version, Spec: node.Spec}); err != nil {
			return err
		}
		done(name)
	}
	return nil
}

func newNodePromote(s *session) *cobra.Command {
	return newNodeRole(s, "promote", "Promote one or more nodes to manager in the swarm", swarm.NodeRoleManager, "Node %s promoted to a manager in the swarm.\n")
}

func newNodeDemote(s *session) *cobra.Command {
	return newNodeRole(s, "demote", "Demote one or more nodes from manager in the swarm", swarm.NodeRoleWorker, "Manager %s demoted in the swarm.\n")
}

func newNodeRole(s *session, name, usage string, role swarm.NodeRole, done string) *cobra.Command {
	return &cobra.Command{
		Use:               name + " NODE [NODE...]",
		Short:             usage,
		Args:              minArgs(1),
		ValidArgsFunction: s.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			return s.updateNodes(c.Context(), args, func(node *swarm.Node) error {
				if node.Spec.Role == role {
					s.print("Node %s is already a %s.\n", node.ID, role)
					return errUnchanged
				}
				node.Spec.Role = role
				return nil
			}, func(name string) { s.print(done, name) })
		},
	}
}

func newNodeRemove(s *session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:               "rm [OPTIONS] NODE [NODE...]",
		Aliases:           []string{"remove"},
		Short:             "Remove one or more nodes from the swarm",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			return each(args, func(name string) error {
				if _, err := s.client.NodeRemove(c.Context(), name, client.NodeRemoveOptions{Force: force}); err != nil {
					return err
				}
				s.print("%s\n", name)
				return nil
			})
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Force remove a node from the swarm")
	return c
}
