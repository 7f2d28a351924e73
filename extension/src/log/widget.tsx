import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import React from 'react';

import { stemmaIcon } from '../icons';
import { IStemma } from '../tokens';
import { LogView } from './LogView';

/** The log of one run in the main area. */
export class LogWidget extends ReactWidget {
  constructor(
    private readonly model: IStemma,
    readonly runId: string,
    private readonly label: string
  ) {
    super();
    this.id = `stemma-log-${runId}`;
    this.addClass('st-LogWidget');
    this.title.label = `Log of ${label}`;
    this.title.icon = stemmaIcon;
    this.title.closable = true;
  }

  protected render(): JSX.Element {
    return (
      <LogView
        model={this.model}
        id={this.runId}
        label={this.label}
        isVisible={this.isVisible}
      />
    );
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.update();
  }

  protected onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.update();
  }
}
