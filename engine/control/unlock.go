package control

import (
	"encoding/base64"
	"strings"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// An unlock key is written as a prefix and its bytes in base64 without padding.
const (
	unlockKeyPrefix  = "SWMKEY-1-"
	unlockKeyBytes   = 32
	textUnlockFormat = "invalid key string"
)

// ParseUnlockKey reads an unlock key as people are shown it.
func ParseUnlockKey(text string) ([]byte, *Failed) {
	digits, ok := strings.CutPrefix(text, unlockKeyPrefix)
	key, err := base64.RawStdEncoding.DecodeString(digits)
	if !ok || err != nil {
		return nil, plain(Invalid, textUnlockFormat)
	}
	return key, nil
}

func formatUnlockKey(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	return unlockKeyPrefix + base64.RawStdEncoding.EncodeToString(key)
}

// lock gives the cluster a new unlock key if its managers are to be locked and it
// has none, or another is asked for; it takes the key away if they are not.
func lock(c *state.Cluster, mint *entropy.Source, rotate bool, version uint64) {
	wanted := c.Spec.EncryptionConfig.AutoLockManagers
	switch has := len(c.UnlockKey) > 0; {
	case wanted && (!has || rotate):
		c.UnlockKey, c.UnlockVersion = mint.Bytes(unlockKeyBytes), version
	case !wanted && has:
		c.UnlockKey, c.UnlockVersion = nil, version
	}
}
