import { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';

import { IRun, Scale } from '../api';
import { LogWidget } from '../log/widget';
import { MlflowWidget } from '../mlflow/widget';
import { PaperPageWidget } from '../page';
import { CommandIDs, IStemma } from '../tokens';

/** The tabs of the main area: one a paper, one a log, one for MLflow; each is there once. */
export class Tabs {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly model: IStemma
  ) {}

  /** Bring the papers and logs that were open back after a reload. */
  restore(restorer: ILayoutRestorer): void {
    void restorer.restore(this._papers, {
      command: CommandIDs.openPaper,
      args: ({ content }) => ({ slug: content.slug }),
      name: ({ content }) => content.slug
    });
    void restorer.restore(this._logs, {
      command: CommandIDs.showLog,
      args: ({ content }) => ({ id: content.runId }),
      name: ({ content }) => content.runId
    });
  }

  openPaper(slug: string, scale: Scale): void {
    const open = this._papers.find(({ content }) => content.slug === slug);
    this._show(open ?? this._addPaper(slug, scale));
  }

  openLog(run: IRun): void {
    const open = this._logs.find(({ content }) => content.runId === run.id);
    this._show(open ?? this._addLog(run));
  }

  openMlflow(url: string): void {
    if (!this._mlflow || this._mlflow.isDisposed) {
      this._mlflow = new MlflowWidget(url);
    } else {
      this._mlflow.open(url);
    }
    this._show(this._mlflow);
  }

  private _addPaper(
    slug: string,
    scale: Scale
  ): MainAreaWidget<PaperPageWidget> {
    const { commands } = this.app;
    const content = new PaperPageWidget({
      model: this.model,
      slug,
      scale,
      actions: {
        openNotebook: (path, kernel) =>
          void commands.execute(CommandIDs.openNotebook, { path, kernel }),
        openMlflow: fragment =>
          void commands.execute(CommandIDs.openMlflow, { fragment }),
        openExternal: url => void window.open(url, '_blank', 'noopener'),
        openLog: ({ id }) => void commands.execute(CommandIDs.showLog, { id })
      }
    });
    const widget = new MainAreaWidget({ content });
    void this._papers.add(widget);
    return widget;
  }

  private _addLog(run: IRun): MainAreaWidget<LogWidget> {
    const content = new LogWidget(this.model, run.id, run.label);
    const widget = new MainAreaWidget({ content });
    void this._logs.add(widget);
    return widget;
  }

  private _show(widget: MainAreaWidget): void {
    const { shell } = this.app;
    if (!widget.isAttached) {
      shell.add(widget, 'main');
    }
    shell.activateById(widget.id);
  }

  private readonly _papers = new WidgetTracker<MainAreaWidget<PaperPageWidget>>(
    { namespace: 'stemma-papers' }
  );
  private readonly _logs = new WidgetTracker<MainAreaWidget<LogWidget>>({
    namespace: 'stemma-logs'
  });
  private _mlflow: MlflowWidget | null = null;
}
