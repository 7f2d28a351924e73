import React from 'react';

import { VisibleWidget } from '../components/VisibleWidget';
import { stemmaIcon } from '../icons';
import { IStemma } from '../tokens';
import { LogView } from './LogView';

/** The log of one run in the main area. */
export class LogWidget extends VisibleWidget {
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
}
