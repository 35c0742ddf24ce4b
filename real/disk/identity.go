package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/swarmd/swarmd/engine/state"
)

const (
	identityFile     = "identity.json"
	identityBytesMax = 64 << 10
)

// An Identity is what a node keeps of its membership across restarts. It is the
// engine's Identity, field by field, so that one converts to the other.
type Identity struct {
	Node    state.NodeID
	Cluster state.ClusterID
	Addr    string // advertised, host:port
	Manager bool
	// DataPath is the IP address that traffic between containers goes by; "" is that
	// of Addr.
	DataPath string
}

// identityRecord is the file: readable by people, and proof against damage.
type identityRecord struct {
	Node     state.NodeID    `json:"node"`
	Cluster  state.ClusterID `json:"cluster"`
	Addr     string          `json:"addr"`
	Manager  bool            `json:"manager"`
	DataPath string          `json:"dataPath,omitempty"`
	Checksum uint32          `json:"checksum"` // CRC-32C of the record without it
}

// SaveIdentity makes id the identity kept in dir, durably. A crash leaves the old
// one or the new one.
func SaveIdentity(fsys FS, dir string, id Identity) error {
	data, err := encodeIdentity(id)
	if err != nil {
		return fmt.Errorf("save the identity in %s: %w", dir, err)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("save the identity in %s: %w", dir, err)
	}
	return replaceFile(fsys, filepath.Join(dir, identityFile), data)
}

// LoadIdentity returns the identity kept in dir, the zero one if there is none.
func LoadIdentity(fsys FS, dir string) (Identity, error) {
	name := filepath.Join(dir, identityFile)
	data, err := readFile(fsys, name, identityBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, nil
	}
	if err != nil {
		return Identity{}, err
	}
	id, err := decodeIdentity(data)
	if err != nil {
		return Identity{}, &CorruptError{File: name, Reason: err.Error()}
	}
	return id, nil
}

// RemoveIdentity makes dir one without an identity, durably.
func RemoveIdentity(fsys FS, dir string) error {
	err := removeAll(fsys, dir, func(name string) bool { return name == identityFile || name == identityFile+temporarySuffix })
	if err != nil {
		return fmt.Errorf("remove the identity in %s: %w", dir, err)
	}
	return nil
}

func encodeIdentity(id Identity) ([]byte, error) {
	if id.Node == "" || id.Cluster == "" {
		return nil, errors.New("an identity needs a node and a cluster")
	}
	record := identityRecord{Node: id.Node, Cluster: id.Cluster, Addr: id.Addr, Manager: id.Manager, DataPath: id.DataPath}
	sum, err := record.sum()
	if err != nil {
		return nil, err
	}
	record.Checksum = sum
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(data) >= identityBytesMax {
		return nil, fmt.Errorf("it would have more than %d bytes", identityBytesMax)
	}
	return append(data, '\n'), nil
}

func decodeIdentity(data []byte) (Identity, error) {
	var record identityRecord
	if err := json.Unmarshal(data, &record); err != nil {
		return Identity{}, fmt.Errorf("it is not an identity: %w", err)
	}
	sum, err := record.sum()
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Node: record.Node, Cluster: record.Cluster, Addr: record.Addr, Manager: record.Manager, DataPath: record.DataPath}
	if sum != record.Checksum || id.Node == "" || id.Cluster == "" {
		return Identity{}, errors.New("the identity has a wrong checksum")
	}
	return id, nil
}

// sum is the checksum of the record's values.
func (r identityRecord) sum() (uint32, error) {
	r.Checksum = 0
	b, err := json.Marshal(r)
	return checksum(0, b), err
}
