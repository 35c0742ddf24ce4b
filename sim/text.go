package sim

import "strconv"

func uitoa(n uint64) string { return strconv.FormatUint(n, 10) }
