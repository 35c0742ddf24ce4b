package logwriter

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// A Config says where a log is written, and how much of it is kept.
type Config struct {
	Path     string
	SizeMax  int64 `json:",omitempty"` // bytes of a file; 0 is without limit
	FilesMax int   // kept, at least 1
	// Attributes are written with every record.
	Attributes map[string]string `json:",omitempty"`
}

// Limits of a configuration.
const (
	filesMax       = 1000
	sizeMin        = 1 << 10 // bytes: less would rotate all the time
	configBytesMax = 1 << 20
)

// Names of the log drivers.
const (
	JSONFile = "json-file"
	Local    = "local" // as Docker's: limited by default; here its files are json-file's
	None     = "none"
)

// Drivers are the names of the log drivers there are.
func Drivers() []string { return []string{JSONFile, Local, None} }

// Configure makes a configuration of a log driver's options as users write them.
// It knows the driver None, which takes no options.
func Configure(driver, path string, options, labels map[string]string, env []string) (Config, error) {
	c := Config{Path: path, FilesMax: 1}
	switch driver {
	case JSONFile, None:
	case Local:
		c.SizeMax, c.FilesMax = 20<<20, 5
	default:
		return c, fmt.Errorf("logger: no log driver named '%s' is registered: there are %s", driver, strings.Join(Drivers(), ", "))
	}
	if driver == None && len(options) > 0 {
		return c, errors.New("the log driver none takes no options")
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if err := c.set(driver, key, options[key]); err != nil {
			return c, err
		}
	}
	if c.FilesMax > 1 && c.SizeMax == 0 {
		return c, errors.New("max-file cannot be greater than 1 without max-size: nothing would ever be rotated")
	}
	var err error
	c.Attributes, err = attributes(options, labels, env)
	return c, err
}

func (c *Config) set(driver, key, value string) error {
	switch key {
	case "max-size":
		if value == "-1" { // Docker's for no limit
			c.SizeMax = 0
			return nil
		}
		size, err := units.RAMInBytes(value)
		if err != nil || size < 0 {
			return fmt.Errorf("invalid value for max-size: %q: a size such as 10m is expected", value)
		}
		c.SizeMax = size
		if c.SizeMax > 0 && c.SizeMax < sizeMin {
			return fmt.Errorf("invalid value for max-size: %q: at least %d bytes are needed", value, sizeMin)
		}
	case "max-file":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > filesMax {
			return fmt.Errorf("invalid value for max-file: %q: a number from 1 to %d is expected", value, filesMax)
		}
		c.FilesMax = n
	case "compress":
		if on, err := strconv.ParseBool(value); err != nil || on {
			return fmt.Errorf("invalid value for compress: %q: logs are not compressed here, only false is possible", value)
		}
	case "mode":
		if value != "blocking" {
			return fmt.Errorf("invalid value for mode: %q: logs are written by a process of their own, only blocking is possible", value)
		}
	case "labels", "labels-regex", "env", "env-regex", "tag":
		if driver == Local && key != "tag" {
			return fmt.Errorf("unknown log opt '%s' for log driver %s", key, driver)
		}
		if key == "tag" && value != "" {
			return errors.New("invalid log opt tag: it is not supported here; use labels or env")
		}
	default:
		return fmt.Errorf("unknown log opt '%s' for log driver %s", key, driver)
	}
	return nil
}

// attributes are those labels and variables of the container's that the options
// name.
func attributes(options, labels map[string]string, env []string) (map[string]string, error) {
	chosen := make(map[string]string)
	variables := make(map[string]string, len(env))
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		variables[key] = value
	}
	for _, source := range []struct {
		option string
		from   map[string]string
	}{{"labels", labels}, {"env", variables}} {
		for key := range strings.SplitSeq(options[source.option], ",") {
			if value, ok := source.from[key]; ok && key != "" {
				chosen[key] = value
			}
		}
		pattern := options[source.option+"-regex"]
		if pattern == "" {
			continue
		}
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("invalid value for %s-regex: %w", source.option, err)
		}
		for key, value := range source.from {
			if expression.MatchString(key) {
				chosen[key] = value
			}
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	return chosen, nil
}

// Save writes the configuration to a file, from which [Run] takes it.
func (c Config) Save(name string) error {
	data, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(name, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the log's configuration: %w", err)
	}
	return nil
}

func load(name string) (Config, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read the log's configuration: %w", err)
	}
	return decodeConfig(data)
}

func decodeConfig(data []byte) (Config, error) {
	var c Config
	if len(data) > configBytesMax {
		return c, fmt.Errorf("the log's configuration has %d bytes, at most %d are possible", len(data), configBytesMax)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("the log's configuration cannot be understood: %w", err)
	}
	if !filepath.IsAbs(c.Path) {
		return c, fmt.Errorf("the log's path is %q, it must be absolute", c.Path)
	}
	if c.SizeMax < 0 || c.FilesMax < 1 || c.FilesMax > filesMax {
		return c, fmt.Errorf("the log's limits are %d bytes and %d files, which cannot be", c.SizeMax, c.FilesMax)
	}
	return c, nil
}
