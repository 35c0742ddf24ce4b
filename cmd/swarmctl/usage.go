package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// exitUsage is the exit code of a flag that cannot be understood, as docker's.
const exitUsage = 125

// usageTemplate is cobra's, in docker's words and order.
const usageTemplate = `Usage:  {{if .Runnable}}{{if .HasSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{end}}
{{- if .Short}}

{{.Short}}{{end}}{{if aliases .}}

Aliases:
  {{aliases .}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

{{if .HasParent}}Options:{{else}}Global Options:{{end}}
{{options .LocalFlags}}{{end}}{{if .HasAvailableSubCommands}}

Run '{{.CommandPath}} COMMAND --help' for more information on a command.{{end}}
`

// aliases is every way to write a command, when there is more than one.
func aliases(c *cobra.Command) string {
	known := make([]string, 0, len(c.Aliases)+1)
	known = append(known, c.CommandPath())
	for _, alias := range c.Aliases {
		if c.HasParent() {
			known = append(known, c.Parent().CommandPath()+" "+alias)
		}
	}
	if len(known) == 1 {
		return ""
	}
	return strings.Join(known, ", ")
}

// options formats flags for the width of the terminal, if out is one.
func options(out io.Writer, flags *pflag.FlagSet) string {
	const narrowest, usual = 40, 80
	width := usual
	if screen := terminal(out); screen != nil {
		if w, _, err := term.GetSize(int(screen.Fd())); err == nil && w >= narrowest {
			width = w
		}
	}
	return strings.TrimRight(flags.FlagUsagesWrapped(width-1), " \n")
}

// dress gives the whole tree docker's help and docker's complaints.
func dress(root *cobra.Command) {
	cobra.AddTemplateFunc("aliases", aliases)
	cobra.AddTemplateFunc("options", func(flags *pflag.FlagSet) string { return options(root.OutOrStdout(), flags) })
	root.PersistentFlags().BoolP("help", "h", false, "Print usage")
	_ = root.PersistentFlags().MarkHidden("help")
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(`{{.UsageString}}`)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exitError{exitUsage, fmt.Sprintf("%s\n\nUsage:  %s\n\nRun '%s --help' for more information", err, useLine(c), c.CommandPath())}
	})
	each := func(c *cobra.Command) { c.DisableFlagsInUseLine = true }
	walk(root, each)
}

func walk(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		walk(sub, f)
	}
}

func useLine(c *cobra.Command) string {
	if c.HasSubCommands() {
		return c.CommandPath()
	}
	return c.UseLine()
}

// argsError is the complaint about the number of arguments.
func argsError(c *cobra.Command, what string) error {
	return fmt.Errorf("%s: '%s' %s\n\nUsage:  %s\n\nRun '%s --help' for more information",
		c.Root().Name(), c.CommandPath(), what, useLine(c), c.CommandPath())
}

func noArgs(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !c.HasParent():
		return fmt.Errorf("%[1]s: unknown command: %[1]s %[2]s\n\nRun '%[1]s --help' for more information", c.Name(), args[0])
	case c.HasSubCommands():
		return fmt.Errorf("%s: unknown command: %s %s\n\nUsage:  %s\n\nRun '%s --help' for more information",
			c.Root().Name(), c.CommandPath(), args[0], useLine(c), c.CommandPath())
	}
	return argsError(c, "accepts no arguments")
}

func exactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return argsError(c, fmt.Sprintf("requires %d %s", n, arguments(n)))
	}
}

func minArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return argsError(c, fmt.Sprintf("requires at least %d %s", n, arguments(n)))
	}
}

func maxArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return argsError(c, fmt.Sprintf("requires at most %d %s", n, arguments(n)))
	}
}

func arguments(n int) string {
	if n == 1 {
		return "argument"
	}
	return "arguments"
}
