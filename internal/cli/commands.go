package cli

import "github.com/spf13/cobra"

// commands are all commands, in the order of the help.
func (r *root) commands() []*cobra.Command {
	return []*cobra.Command{
		r.demoCommand(),
		r.serveCommand(),
		r.gatewayCommand(),
	}
}
