import { MainAreaWidget } from '@jupyterlab/apputils';
import { IFrame } from '@jupyterlab/ui-components';

import { mlflowIcon } from '../icons';

/**
 * MLflow in a tab of the lab.
 *
 * Its pages need scripts and an origin of their own, and that is no sandbox for a server of the
 * lab's own origin: only the server that Stemma started, or was configured with, is shown.
 */
export class MlflowWidget extends MainAreaWidget<IFrame> {
  constructor(url: string) {
    const content = new IFrame({
      sandbox: [
        'allow-scripts',
        'allow-same-origin',
        'allow-popups',
        'allow-forms',
        'allow-downloads'
      ]
    });
    super({ content });
    this.id = 'stemma-mlflow';
    this.title.label = 'MLflow';
    this.title.icon = mlflowIcon;
    this.title.closable = true;
    this.open(url);
  }

  /** Go to another page of the server. */
  open(url: string): void {
    this.content.url = url;
  }
}
