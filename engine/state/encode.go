package state

import (
	"github.com/moby/moby/api/types/swarm"
)

// The numbers of fields are in logs and snapshots for ever: never reuse one.

func (c *Cluster) append(b []byte) []byte {
	e := encoder{b}
	e.meta(&c.Meta)
	e.uint(4, c.SpecVersion)
	e.json(5, &c.Spec, false)
	e.uint(6, c.Format)
	e.bytes(7, c.RootCert)
	e.bytes(8, c.RootKey)
	e.text(9, c.WorkerSecret)
	e.text(10, c.ManagerSecret)
	e.text(11, c.RootDigest)
	e.bytes(12, c.UnlockKey)
	e.json(13, c.DefaultAddrPool, len(c.DefaultAddrPool) == 0)
	e.uint(14, uint64(c.SubnetSize))
	e.uint(15, uint64(c.DataPathPort))
	e.uint(16, c.UnlockVersion)
	e.bytes(17, c.NextCert)
	e.bytes(18, c.NextKey)
	e.bytes(19, c.NextCross)
	e.text(20, c.NextDigest)
	e.bytes(21, c.Crossed)
	e.bytes(22, c.FormerCert)
	e.uint(23, c.CertVersion)
	return append(e.b, c.Unknown...)
}

func decodeCluster(id string, b []byte) (*Cluster, error) {
	c := &Cluster{ID: ClusterID(id)}
	rest, err := fields(b, func(d *decoder) bool {
		switch d.field {
		case 4:
			c.SpecVersion = d.num
		case 5:
			d.json(&c.Spec)
		case 6:
			c.Format = d.num
		case 7:
			c.RootCert = clone(d.data)
		case 8:
			c.RootKey = clone(d.data)
		case 9:
			c.WorkerSecret = string(d.data)
		case 10:
			c.ManagerSecret = string(d.data)
		case 11:
			c.RootDigest = string(d.data)
		case 12:
			c.UnlockKey = clone(d.data)
		case 13:
			d.json(&c.DefaultAddrPool)
		case 14:
			c.SubnetSize = uint32(d.num)
		case 15:
			c.DataPathPort = uint32(d.num)
		default:
			return c.setRoots(d) || d.meta(&c.Meta)
		}
		return true
	})
	c.Unknown = rest
	return c, err
}

func (c *Cluster) setRoots(d *decoder) bool {
	switch d.field {
	case 16:
		c.UnlockVersion = d.num
	case 17:
		c.NextCert = clone(d.data)
	case 18:
		c.NextKey = clone(d.data)
	case 19:
		c.NextCross = clone(d.data)
	case 20:
		c.NextDigest = string(d.data)
	case 21:
		c.Crossed = clone(d.data)
	case 22:
		c.FormerCert = clone(d.data)
	case 23:
		c.CertVersion = d.num
	default:
		return false
	}
	return true
}

func (n *Node) append(b []byte) []byte {
	e := encoder{b}
	e.meta(&n.Meta)
	e.uint(4, n.SpecVersion)
	e.json(5, &n.Spec, false)
	e.json(6, &n.Description, false)
	e.text(7, n.Addr)
	e.uint(8, uint64(n.State))
	e.text(9, n.Message)
	e.bool(10, n.Manager)
	e.text(11, n.ManagerAddr)
	e.wall(12, n.Since)
	e.bytes(13, n.Key)
	e.addr(14, n.Mesh)
	e.uint(15, n.Trust)
	e.uint(16, n.Certificate)
	e.text(17, n.DataPath)
	return append(e.b, n.Unknown...)
}

func decodeNode(id string, b []byte) (*Node, error) {
	n := &Node{ID: NodeID(id)}
	rest, err := fields(b, func(d *decoder) bool {
		switch d.field {
		case 4:
			n.SpecVersion = d.num
		case 5:
			d.json(&n.Spec)
		case 6:
			d.json(&n.Description)
		case 7:
			n.Addr = string(d.data)
		case 8:
			n.State = NodeState(d.num)
		case 9:
			n.Message = string(d.data)
		case 10:
			n.Manager = d.num != 0
		case 11:
			n.ManagerAddr = string(d.data)
		case 12:
			n.Since = Wall(d.num)
		case 13:
			n.Key = clone(d.data)
		case 14:
			n.Mesh = d.addr()
		case 17:
			n.DataPath = string(d.data)
		case 15:
			n.Trust = d.num
		case 16:
			n.Certificate = d.num
		default:
			return d.meta(&n.Meta)
		}
		return true
	})
	n.Unknown = rest
	return n, err
}

func (s *Service) append(b []byte) []byte {
	e := encoder{b}
	e.meta(&s.Meta)
	e.uint(4, s.SpecVersion)
	e.json(5, &s.Spec, false)
	e.json(6, s.Previous, s.Previous == nil)
	e.uint(7, s.Template)
	e.uint(8, s.PreviousTemplate)
	e.json(9, s.Ports, len(s.Ports) == 0)
	e.json(10, s.Update, s.Update == nil)
	e.uint(11, s.JobIteration)
	e.wall(12, s.JobExecution)
	e.text(13, s.RegistryAuth)
	e.text(14, s.PreviousAuth)
	e.json(15, s.VIPs, len(s.VIPs) == 0)
	return append(e.b, s.Unknown...)
}

func decodeService(id string, b []byte) (*Service, error) {
	s := &Service{ID: ServiceID(id)}
	rest, err := fields(b, func(d *decoder) bool {
		switch d.field {
		case 4:
			s.SpecVersion = d.num
		case 5:
			d.json(&s.Spec)
		case 6:
			s.Previous = new(swarm.ServiceSpec)
			d.json(s.Previous)
		case 7:
			s.Template = d.num
		case 8:
			s.PreviousTemplate = d.num
		case 9:
			d.json(&s.Ports)
		case 10:
			s.Update = new(Update)
			d.json(s.Update)
		case 11:
			s.JobIteration = d.num
		case 12:
			s.JobExecution = Wall(d.num)
		case 13:
			s.RegistryAuth = string(d.data)
		case 14:
			s.PreviousAuth = string(d.data)
		case 15:
			d.json(&s.VIPs)
		default:
			return d.meta(&s.Meta)
		}
		return true
	})
	s.Unknown = rest
	return s, err
}

func (t *Template) append(b []byte) []byte {
	e := encoder{b}
	e.text(1, t.ServiceName)
	e.json(2, t.ServiceLabels, len(t.ServiceLabels) == 0)
	e.json(3, &t.Spec, false)
	e.json(4, t.Endpoint, t.Endpoint == nil)
	e.json(5, t.Ports, len(t.Ports) == 0)
	e.text(6, t.RegistryAuth)
	return append(e.b, t.Unknown...)
}

func decodeTemplate(id string, b []byte) (*Template, error) {
	service, version, ok := splitTemplateID(id)
	if !ok {
		return nil, errEncoding
	}
	t := &Template{Service: service, Version: version}
	rest, err := fields(b, func(d *decoder) bool {
		switch d.field {
		case 1:
			t.ServiceName = string(d.data)
		case 2:
			d.json(&t.ServiceLabels)
		case 3:
			d.json(&t.Spec)
		case 4:
			t.Endpoint = new(swarm.EndpointSpec)
			d.json(t.Endpoint)
		case 5:
			d.json(&t.Ports)
		case 6:
			t.RegistryAuth = string(d.data)
		default:
			return false
		}
		return true
	})
	t.Unknown = rest
	return t, err
}

func (t *Task) append(b []byte) []byte {
	e := encoder{b}
	e.meta(&t.Meta)
	e.text(4, string(t.Service))
	e.uint(5, t.Slot)
	e.bool(6, t.Global)
	e.uint(7, t.Template)
	e.text(8, string(t.Node))
	e.uint(9, uint64(t.Desired))
	e.uint(10, uint64(t.Status.State))
	e.int(11, int(t.Status.At-t.Updated))
	e.text(12, t.Status.Message)
	e.text(13, t.Status.Err)
	e.text(14, t.Status.Container)
	e.int(15, t.Status.PID)
	e.int(16, t.Status.ExitCode)
	e.json(17, t.Status.Ports, len(t.Status.Ports) == 0)
	e.uint(18, t.JobIteration)
	e.bool(19, t.Job)
	e.wall(20, t.Start)
	e.text(21, string(t.After))
	e.uint(22, uint64(t.Failures))
	e.json(23, t.Generic, len(t.Generic) == 0)
	e.bool(24, t.Rollout)
	e.wall(25, t.Ran)
	e.addrs(26, t.Addresses)
	e.addr(27, t.Mesh)
	return append(e.b, t.Unknown...)
}

func (in *Store) decodeTask(id string, b []byte) (*Task, error) {
	t := &Task{ID: TaskID(id)}
	at := 0
	rest, err := fields(b, func(d *decoder) bool {
		switch {
		case d.field <= 3:
			return d.meta(&t.Meta)
		case d.field < 10:
			return t.setPlace(d, in)
		case d.field == 11:
			at = d.int()
			return true
		case d.field < 18:
			return t.Status.set(d, in)
		default:
			return t.setPlan(d)
		}
	})
	t.Status.At = t.Updated + Wall(at)
	t.Unknown = rest
	return t, err
}

func (t *Task) setPlace(d *decoder, in *Store) bool {
	switch d.field {
	case 4:
		t.Service = in.internService(d.data)
	case 5:
		t.Slot = d.num
	case 6:
		t.Global = d.num != 0
	case 7:
		t.Template = d.num
	case 8:
		t.Node = in.internNode(d.data)
	case 9:
		t.Desired = TaskState(d.num)
	default:
		return false
	}
	return true
}

func (s *TaskStatus) set(d *decoder, in *Store) bool {
	switch d.field {
	case 10:
		s.State = TaskState(d.num)
	case 12:
		s.Message = in.internMessage(d.data)
	case 13:
		s.Err = in.internMessage(d.data)
	case 14:
		s.Container = string(d.data)
	case 15:
		s.PID = d.int()
	case 16:
		s.ExitCode = d.int()
	case 17:
		d.json(&s.Ports)
	default:
		return false
	}
	return true
}

func (t *Task) setPlan(d *decoder) bool {
	switch d.field {
	case 18:
		t.JobIteration = d.num
	case 19:
		t.Job = d.num != 0
	case 20:
		t.Start = Wall(d.num)
	case 21:
		t.After = TaskID(d.data)
	case 22:
		t.Failures = uint32(d.num)
	case 23:
		d.json(&t.Generic)
	case 24:
		t.Rollout = d.num != 0
	case 25:
		t.Ran = Wall(d.num)
	case 26:
		t.Addresses = d.addrs()
	case 27:
		t.Mesh = d.addr()
	default:
		return false
	}
	return true
}

// clone returns a copy that is never nil: nil is what is not there.
func clone(b []byte) []byte { return append([]byte{}, b...) }
