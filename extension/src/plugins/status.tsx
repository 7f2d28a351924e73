import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ReactWidget } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import React from 'react';

import { useSignals } from '../components/useSignals';
import { CommandIDs, IStemma } from '../tokens';

interface IStatusProps {
  model: IStemma;
  commands: CommandRegistry;
}

/** How many notebooks run; a click shows them. */
export function Status({ model, commands }: IStatusProps): JSX.Element {
  useSignals(model.runsChanged);
  const count = model.active.length;
  return (
    <button
      className="st-Status jp-StatusBar-TextItem"
      title="Show Stemma's side bar"
      onClick={() => void commands.execute(CommandIDs.showPanel)}
    >
      Stemma: {count} running
    </button>
  );
}

/** The item of the status bar; it is there while something runs. */
export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: 'stemma_lab:status',
  description: 'The number of running notebooks in the status bar.',
  autoStart: true,
  requires: [IStemma, IStatusBar],
  activate: (app: JupyterFrontEnd, model: IStemma, statusBar: IStatusBar) => {
    const item = ReactWidget.create(
      <Status model={model} commands={app.commands} />
    );
    statusBar.registerStatusItem('stemma_lab:status', {
      item,
      align: 'left',
      rank: 50,
      isActive: () => model.active.length > 0,
      activeStateChanged: model.runsChanged
    });
  }
};
