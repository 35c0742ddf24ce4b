package request

import (
	"encoding/csv"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// Swarm is the settings of a swarm that swarm init and swarm update share.
type Swarm struct {
	Autolock bool

	flags     *pflag.FlagSet
	history   int64
	heartbeat time.Duration
	expiry    time.Duration
	snapshots uint64
	interval  uint64
	external  ExternalCAs
}

// NewSwarm adds the flags; autolock is the help for --autolock.
func NewSwarm(flags *pflag.FlagSet, autolock string) *Swarm {
	f := &Swarm{flags: flags}
	flags.Int64Var(&f.history, "task-history-limit", 5, "Task history retention limit")
	flags.DurationVar(&f.heartbeat, "dispatcher-heartbeat", 5*time.Second, "Dispatcher heartbeat period (ns|us|ms|s|m|h)")
	flags.DurationVar(&f.expiry, "cert-expiry", 90*24*time.Hour, "Validity period for node certificates (ns|us|ms|s|m|h)")
	flags.Uint64Var(&f.snapshots, "max-snapshots", 0, "Number of additional Raft snapshots to retain")
	flags.Uint64Var(&f.interval, "snapshot-interval", 10000, "Number of log entries between Raft snapshots")
	flags.Var(&f.external, "external-ca", "Specifications of one or more certificate signing endpoints")
	flags.BoolVar(&f.Autolock, "autolock", false, autolock)
	return f
}

// Change writes the settings that were given into spec.
func (f *Swarm) Change(spec *swarm.Spec) {
	if f.flags.Changed("task-history-limit") {
		spec.Orchestration.TaskHistoryRetentionLimit = &f.history
	}
	if f.flags.Changed("dispatcher-heartbeat") {
		spec.Dispatcher.HeartbeatPeriod = f.heartbeat
	}
	if f.flags.Changed("cert-expiry") {
		spec.CAConfig.NodeCertExpiry = f.expiry
	}
	if f.flags.Changed("max-snapshots") {
		spec.Raft.KeepOldSnapshots = &f.snapshots
	}
	if f.flags.Changed("snapshot-interval") {
		spec.Raft.SnapshotInterval = f.interval
	}
	if f.flags.Changed("external-ca") {
		spec.CAConfig.ExternalCAs = f.external
	}
	if f.flags.Changed("autolock") {
		spec.EncryptionConfig.AutoLockManagers = f.Autolock
	}
}

// ReadPEM reads a file whose content is in PEM format.
func ReadPEM(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if block, _ := pem.Decode(content); block == nil {
		return "", fmt.Errorf("file contents must be in PEM format: %s", path)
	}
	return string(content), nil
}

// ExternalCAs collects protocol=cfssl,url=…[,cacert=FILE][,option=value].
type ExternalCAs []*swarm.ExternalCA

// Set implements pflag.Value: it adds one.
func (e *ExternalCAs) Set(value string) error {
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return err
	}
	ca := &swarm.ExternalCA{Options: map[string]string{}}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
		switch key = strings.ToLower(key); key {
		case "protocol":
			if !strings.EqualFold(value, string(swarm.ExternalCAProtocolCFSSL)) {
				return fmt.Errorf("unrecognized external CA protocol %s", value)
			}
			ca.Protocol = swarm.ExternalCAProtocolCFSSL
		case "url":
			ca.URL = value
		case "cacert":
			if ca.CACert, err = ReadPEM(value); err != nil {
				return fmt.Errorf("unable to read CA cert for external CA: %w", err)
			}
		default:
			ca.Options[key] = value
		}
	}
	switch {
	case ca.Protocol == "":
		return errors.New("the external-ca option needs a protocol= parameter")
	case ca.URL == "":
		return errors.New("the external-ca option needs a url= parameter")
	}
	*e = append(*e, ca)
	return nil
}

// Type implements pflag.Value.
func (e *ExternalCAs) Type() string { return "external-ca" }

func (e *ExternalCAs) String() string {
	var shown []string
	for _, ca := range *e {
		shown = append(shown, string(ca.Protocol)+": "+ca.URL)
	}
	return strings.Join(shown, ", ")
}
