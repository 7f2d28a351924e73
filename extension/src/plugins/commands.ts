import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  ICommandPalette,
  InputDialog,
  Notification
} from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { CommandRegistry } from '@lumino/commands';
import {
  ReadonlyJSONObject,
  ReadonlyPartialJSONObject
} from '@lumino/coreutils';

import { IRun, Scale, SCALES, Value } from '../api';
import { ownAddress, server } from '../mlflow/open';
import { reason } from '../model';
import { loadSettings } from '../settings';
import { CommandIDs, IStemma } from '../tokens';
import { Tabs } from './tabs';

const ID = 'stemma_lab:commands';

type Arguments = ReadonlyPartialJSONObject;

interface ICommand {
  label: string;
  caption: string;
  /** JSON schema of the arguments' properties; they are all optional. */
  args: ReadonlyJSONObject;
  execute: (args: Arguments) => unknown;
}

const RUN_ID = { type: 'string', description: 'A run: BATCH/NAME.' };
const SLUG = { type: 'string', description: 'A paper; asked for if missing.' };

/** Everything that can be done, as commands; the tabs of the main area live here. */
export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Commands, and the tabs for papers, logs and MLflow.',
  autoStart: true,
  requires: [IStemma, IDocumentManager],
  optional: [ICommandPalette, ILayoutRestorer, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    model: IStemma,
    documents: IDocumentManager,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    registry: ISettingRegistry | null
  ) => {
    const tabs = new Tabs(app, model);
    const settings = loadSettings(registry, ID);

    const all: Record<string, ICommand> = {
      [CommandIDs.openPaper]: {
        label: 'Open Paper…',
        caption: 'Show what a paper claims and what was measured here',
        args: { slug: SLUG },
        execute: async args => {
          const slug = await chosenPaper(model, args);
          if (slug) {
            tabs.openPaper(slug, (await settings)().scale);
          }
        }
      },
      [CommandIDs.run]: {
        label: 'Run Paper…',
        caption: "Run a paper's notebook at a scale",
        args: {
          slug: SLUG,
          scale: { enum: [...SCALES] },
          parameters: { type: 'object' },
          force: { type: 'boolean' }
        },
        execute: async args => {
          const slug = await chosenPaper(model, args);
          if (slug) {
            await model.start({
              slug,
              scale: (args.scale as Scale) ?? (await settings)().scale,
              parameters: (args.parameters as Record<string, Value>) ?? {},
              force: args.force === true
            });
          }
        }
      },
      [CommandIDs.cancel]: {
        label: 'Stop Running Notebooks',
        caption: 'Stop one run, or all that are going on',
        args: { id: RUN_ID },
        execute: async args => {
          const chosen = args.id ? [await find(model, args.id)] : model.active;
          await Promise.all(chosen.map(run => model.cancel(run)));
        }
      },
      [CommandIDs.retry]: {
        label: 'Retry Latest Run',
        caption: 'Run what did not succeed once more, as it was planned',
        args: { id: RUN_ID },
        execute: async args => model.retry(await find(model, args.id))
      },
      [CommandIDs.showLog]: {
        label: 'Show Log of Latest Run',
        caption: 'Show what a run wrote to its log',
        args: { id: RUN_ID },
        execute: async args => tabs.openLog(await find(model, args.id))
      },
      [CommandIDs.openMlflow]: {
        label: 'Open MLflow',
        caption: 'Open the server on which the runs are tracked',
        args: { fragment: { type: 'string' } },
        execute: async args => {
          const found = await withNotice(server(model.api));
          const address = found.own
            ? ownAddress(found.url, window.location.hostname)
            : found.url;
          const url = address + page(args);
          // A server that others configured may not be framed, and need not be trusted.
          if (found.own && (await settings)().mlflow === 'lab') {
            tabs.openMlflow(url);
          } else {
            window.open(url, '_blank', 'noopener');
          }
        }
      },
      [CommandIDs.refresh]: {
        label: 'Refresh Papers, Runs and Tests',
        caption: 'Read everything again',
        args: {},
        execute: () => model.refresh()
      }
    };
    for (const [id, command] of Object.entries(all)) {
      add(app.commands, id, command);
      palette?.addItem({ command: id, category: 'Stemma' });
    }
    // A path has to come from somewhere, so the palette does not offer this one.
    add(app.commands, CommandIDs.openNotebook, {
      label: 'Open Notebook',
      caption: 'Open a notebook, without a kernel unless it is asked for',
      args: { path: { type: 'string' }, kernel: { type: 'boolean' } },
      execute: args => openNotebook(documents, args)
    });
    if (restorer) {
      tabs.restore(restorer);
    }
  }
};

/** Add a command whose failure is shown to the user. */
function add(
  commands: CommandRegistry,
  id: string,
  { label, caption, args, execute }: ICommand
): void {
  commands.addCommand(id, {
    label,
    caption,
    describedBy: { args: { type: 'object', properties: args } },
    execute: async given => {
      try {
        return await execute(given);
      } catch (error) {
        Notification.error(reason(error), { autoClose: false });
        throw error;
      }
    }
  });
}

async function chosenPaper(
  model: IStemma,
  { slug }: Arguments
): Promise<string | null> {
  if (typeof slug === 'string') {
    return slug;
  }
  await ready(model);
  const items = model.papers
    .filter(paper => paper.status === 'ready')
    .map(paper => paper.slug);
  const answer = await InputDialog.getItem({ title: 'Which paper?', items });
  return answer.button.accept ? answer.value : null;
}

async function find(model: IStemma, id: unknown): Promise<IRun> {
  await ready(model);
  if (id === undefined && model.runs.length > 0) {
    return model.runs[0];
  }
  const run = model.runs.find(known => known.id === id);
  return run ?? model.api.run(String(id));
}

/** Commands come before the panel was ever looked at. */
async function ready(model: IStemma): Promise<void> {
  if (!model.isReady) {
    await model.refresh();
  }
}

function page({ fragment }: Arguments): string {
  return typeof fragment === 'string' ? fragment : '/';
}

function openNotebook(documents: IDocumentManager, args: Arguments): void {
  const preference = args.kernel
    ? undefined
    : { shouldStart: false, autoStartDefault: false };
  documents.openOrReveal(
    String(args.path),
    'Notebook',
    undefined,
    undefined,
    preference
  );
}

/** Say that MLflow starts, since that takes a while; the notice goes when it is there. */
async function withNotice<T>(answer: Promise<T>): Promise<T> {
  const timer = window.setTimeout(() => {
    const there = answer.then(() => null);
    Notification.promise(there, {
      pending: { message: 'MLflow starts…', options: { autoClose: false } },
      success: { message: () => 'MLflow is there' },
      error: { message: error => reason(error) }
    });
  }, 1000);
  try {
    return await answer;
  } finally {
    window.clearTimeout(timer);
  }
}
