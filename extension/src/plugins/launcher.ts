import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ILauncher } from '@jupyterlab/launcher';

import { CommandIDs } from '../tokens';

/** A card of the launcher that shows the side bar. */
export const launcherPlugin: JupyterFrontEndPlugin<void> = {
  id: 'stemma_lab:launcher',
  description: 'The card of the launcher.',
  autoStart: true,
  requires: [ILauncher],
  activate: (_: JupyterFrontEnd, launcher: ILauncher) => {
    launcher.add({
      command: CommandIDs.showPanel,
      args: { isLauncher: true },
      category: 'Other',
      rank: 1
    });
  }
};
