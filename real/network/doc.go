// Package network makes the kernel's network match a plan.
package network
