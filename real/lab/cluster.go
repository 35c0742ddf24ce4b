package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// HostsMax is how many hosts a cluster may have.
const HostsMax = 64

const (
	firstAddr   = "10.77.0.%d"
	firstNumber = 10 // the first host is 10.77.0.10
)

// A Cluster is hosts on one switch. Its methods are for one goroutine at a time.
type Cluster struct {
	Dir      string
	Data     string // where the hosts keep what they keep for ever; Dir if empty
	Complete bool   // it was made, and not only begun
	Names    []string
	Hosts    []*Host `json:"-"`

	lock *os.File
}

// NewCluster makes a switch without hosts. What there is of it is written below
// dir, which is made and must not exist; what hosts keep is below data, or dir if
// that is empty. The cluster is locked until it is closed.
func NewCluster(dir, data string) (*Cluster, error) {
	dirs := []string{dir}
	if data != "" {
		dirs = append(dirs, data)
	}
	for i, d := range dirs {
		absolute, err := filepath.Abs(d)
		if err != nil {
			return nil, err
		}
		d, dirs[i] = absolute, absolute
		if err := os.MkdirAll(filepath.Dir(d), 0o755); err != nil {
			return nil, err
		}
		if err := os.Mkdir(d, 0o711); err != nil {
			return nil, fmt.Errorf("cannot make the directory of the lab: %w", err)
		}
	}
	c := &Cluster{Dir: dirs[0]}
	if data != "" {
		c.Data = dirs[1]
	}
	err := c.acquire()
	if err == nil {
		err = errors.Join(c.save(), c.makeSwitch())
	}
	if err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

// OpenCluster is what another process has made in the directory, whole or not. It
// is [os.ErrNotExist] if there is none, and waits while another process has it.
func OpenCluster(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir}
	if err := c.acquire(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(c.file())
	if errors.Is(err, os.ErrNotExist) { // it was only begun
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, c)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the lab in %s cannot be read: %w", dir, err), c.Close())
	}
	for _, name := range c.Names {
		h, err := OpenHost(c.hostDir(name))
		if err != nil {
			// It was only begun: its name says where all that it can have is.
			h = &Host{Config: Config{Dir: c.hostDir(name), Data: c.dataDir(name), Name: name, Daemon: Swarmd}, netns: namespaceName(c.hostDir(name))}
		}
		c.Hosts = append(c.Hosts, h)
	}
	return c, nil
}

// acquire locks the directory against other processes.
func (c *Cluster) acquire() error {
	lock, err := os.Open(c.Dir)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return errors.Join(err, lock.Close())
	}
	if _, err := os.Stat(c.Dir); err != nil { // another process has removed it meanwhile
		return errors.Join(err, lock.Close())
	}
	c.lock = lock
	return nil
}

// Close leaves the cluster as it is to other processes.
func (c *Cluster) Close() error {
	if c.lock == nil {
		return nil
	}
	lock := c.lock
	c.lock = nil
	return lock.Close()
}

func (c *Cluster) file() string { return filepath.Join(c.Dir, "lab.json") }

func (c *Cluster) save() error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return writeFile(c.file(), text)
}

func (c *Cluster) hostDir(name string) string { return filepath.Join(c.Dir, name) }

func (c *Cluster) dataDir(name string) string {
	if c.Data == "" {
		return filepath.Join(c.Dir, name, "data")
	}
	return filepath.Join(c.Data, name)
}

func (c *Cluster) makeSwitch() error {
	name := namespaceName(c.Dir)
	return ip(
		[]string{"netns", "add", name},
		[]string{"netns", "exec", name, "sh", "-c", framesAlone},
		[]string{"-n", name, "link", "add", "switch", "type", "bridge"},
		[]string{"-n", name, "link", "set", "switch", "up"},
	)
}

// Add makes one more host, with the next address. Of the config the place, the
// switch and the address are the cluster's to say.
func (c *Cluster) Add(config Config) (*Host, error) {
	if len(c.Hosts) >= HostsMax {
		return nil, fmt.Errorf("a lab has %d hosts at most", HostsMax)
	}
	if config.Name == "" || strings.ContainsAny(config.Name, "/. ") || slices.Contains(c.Names, config.Name) {
		return nil, fmt.Errorf("%q cannot be the name of one more host", config.Name)
	}
	// Written down before it is made, so that it is found whatever happens.
	c.Names = append(c.Names, config.Name)
	if err := c.save(); err != nil {
		return nil, err
	}
	config.Dir, config.Data = c.hostDir(config.Name), c.dataDir(config.Name)
	config.Addr, config.Switch = fmt.Sprintf(firstAddr, firstNumber+len(c.Hosts)), namespaceName(c.Dir)
	h, err := NewHost(config)
	if err != nil {
		return nil, err
	}
	c.Hosts = append(c.Hosts, h)
	return h, nil
}

// Host is the host of a name, nil if there is none.
func (c *Cluster) Host(name string) *Host {
	if i := slices.IndexFunc(c.Hosts, func(h *Host) bool { return h.Name == name }); i >= 0 {
		return c.Hosts[i]
	}
	return nil
}

// Each does something with every host, side by side.
func (c *Cluster) Each(do func(h *Host) error) error {
	failed := make([]error, len(c.Hosts))
	var all sync.WaitGroup
	for i, h := range c.Hosts {
		all.Go(func() { failed[i] = do(h) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// Cut has what one host sends to the other not arrive; that goes on if either of
// them loses its power.
func (c *Cluster) Cut(from, to *Host) error { return to.Mute([]string{from.Addr}, true) }

// Heal has what one host sends to the other arrive again.
func (c *Cluster) Heal(from, to *Host) error { return to.Mute([]string{from.Addr}, false) }

// MarkComplete writes down that all was made that was to be.
func (c *Cluster) MarkComplete() error {
	c.Complete = true
	return c.save()
}

// Remove takes the hosts, the switch and all files away, whatever state they are
// in. The error says what could not be removed.
func (c *Cluster) Remove() error {
	failed := []error{c.Each((*Host).Destroy), removeNamespace(namespaceName(c.Dir))}
	if c.Data != "" {
		failed = append(failed, os.RemoveAll(c.Data))
	}
	if err := errors.Join(failed...); err != nil { // what is written down is still needed
		return errors.Join(err, c.Close())
	}
	return errors.Join(os.RemoveAll(c.Dir), c.Close())
}
