import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';

import { stemmaIcon } from '../icons';
import { PANEL_ID, StemmaPanel } from '../panel/widget';
import { CommandIDs, IStemma } from '../tokens';

const RANK = 600;

/** The side bar on the left. */
export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'stemma_lab:panel',
  description: 'The side bar with papers, runs and provenance.',
  autoStart: true,
  requires: [IStemma, IDocumentManager],
  optional: [ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    model: IStemma,
    documents: IDocumentManager,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ) => {
    const { commands, shell } = app;
    const panel = new StemmaPanel(
      model,
      commands,
      path => void documents.openOrReveal(path)
    );
    shell.add(panel, 'left', { rank: RANK, type: 'Stemma' });
    restorer?.add(panel, PANEL_ID);

    commands.addCommand(CommandIDs.showPanel, {
      label: args => (args.isLauncher ? 'Stemma' : 'Show Side Bar'),
      caption: 'Reproduce papers, read verdicts, test descent',
      icon: args => (args.isLauncher ? stemmaIcon : undefined),
      describedBy: {
        args: {
          type: 'object',
          properties: { isLauncher: { type: 'boolean' } }
        }
      },
      execute: () => shell.activateById(PANEL_ID)
    });
    commands.addCommand(CommandIDs.searchPapers, {
      label: 'Search Papers',
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => {
        shell.activateById(PANEL_ID);
        panel.search();
      }
    });
    for (const command of [CommandIDs.showPanel, CommandIDs.searchPapers]) {
      palette?.addItem({ command, category: 'Stemma' });
    }
  }
};
