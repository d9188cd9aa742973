package cli

import "github.com/spf13/cobra"

// commands are all commands, group by group.
func (r *root) commands() []*cobra.Command {
	list := []*cobra.Command{
		r.demoCommand(), r.serveCommand(), r.gatewayCommand(), r.startCommand(),
		r.listCommand(), r.getCommand(), r.logsCommand(), r.stateCommand(), r.historyCommand(), r.graphCommand(),
	}
	list = append(list, r.actionCommands()...)
	return append(list,
		r.undoCommand(), r.unblockCommand(),
		r.compareCommand(), r.deployCommand(), r.monitorCommand(), r.promoteCommand(), r.rollbackCommand(), r.runTaskCommand(),
		r.registerCommand(), r.scoreCommand(),
		r.initCommand(), r.lintCommand(), r.configCommand(), r.versionCommand(),
	)
}
