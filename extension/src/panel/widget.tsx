import {
  PanelWithToolbar,
  ReactWidget,
  refreshIcon,
  SidePanel,
  ToolbarButton
} from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import { AccordionPanel } from '@lumino/widgets';
import React from 'react';

import { stemmaIcon } from '../icons';
import { ProvenancePanel } from '../provenance';
import { CommandIDs, IStemma } from '../tokens';
import { PapersSection } from './PapersSection';
import { RunsSection } from './RunsSection';

export const PANEL_ID = 'stemma-panel';

/** How the sections share the height at first. */
const SHARES = [3, 2, 2];

/** The side bar: papers, runs, provenance. */
export class StemmaPanel extends SidePanel {
  constructor(
    private readonly model: IStemma,
    commands: CommandRegistry,
    openPath: (path: string) => void
  ) {
    super();
    this.id = PANEL_ID;
    this.addClass('st-Panel');
    this.title.icon = stemmaIcon;
    this.title.caption = 'Stemma: papers, runs, provenance';
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Stemma');
    this.toolbar.addItem(
      'refresh',
      new ToolbarButton({
        icon: refreshIcon,
        tooltip: 'Read papers, runs and tests again',
        onClick: () => void commands.execute(CommandIDs.refresh)
      })
    );
    this._add('Papers', <PapersSection model={model} commands={commands} />);
    this._add('Runs', <RunsSection model={model} commands={commands} />);
    this._add(
      'Provenance',
      <ProvenancePanel model={model} openPath={openPath} />
    );
    (this.content as AccordionPanel).setRelativeSizes(SHARES);
  }

  /** Focus the search field of the papers. */
  search(): void {
    this.node.querySelector<HTMLInputElement>('.st-Search')?.focus();
  }

  /** Nothing is read before the panel is looked at. */
  protected onBeforeShow(msg: Message): void {
    super.onBeforeShow(msg);
    void this.model.refresh();
  }

  private _add(title: string, content: JSX.Element): void {
    const section = new PanelWithToolbar();
    section.title.label = title;
    section.addClass('st-PanelSection');
    section.addWidget(ReactWidget.create(content));
    this.addWidget(section);
  }
}
