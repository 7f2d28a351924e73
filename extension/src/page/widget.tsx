import { Message } from '@lumino/messaging';
import React from 'react';

import { Scale } from '../api';
import { VisibleWidget } from '../components/VisibleWidget';
import { stemmaIcon } from '../icons';
import { IStemma } from '../tokens';
import { IPageActions } from './actions';
import { PaperPage } from './PaperPage';

/** The page of a paper in the lab's main area. */
export class PaperPageWidget extends VisibleWidget {
  constructor(options: PaperPageWidget.IOptions) {
    super();
    const { model, slug, scale, actions } = options;
    this._model = model;
    this._actions = actions;
    this._scale = scale;
    this.slug = slug;
    this.id = `stemma-paper-${slug}`;
    this.addClass('st-PaperPageWidget');
    this.node.tabIndex = -1;
    this.title.icon = stemmaIcon;
    this.title.closable = true;
    this._updateTitle();
    model.papersChanged.connect(this._updateTitle, this);
  }

  readonly slug: string;

  dispose(): void {
    this._model.papersChanged.disconnect(this._updateTitle, this);
    super.dispose();
  }

  protected render(): JSX.Element {
    return (
      <PaperPage
        model={this._model}
        slug={this.slug}
        scale={this._scale}
        actions={this._actions}
        isShown={this.isVisible}
      />
    );
  }

  protected onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this.node.focus();
  }

  private _updateTitle(): void {
    const row = this._model.papers.find(({ slug }) => slug === this.slug);
    this.title.label = row?.title ?? this.slug;
    this.title.caption = row ? `${row.title} (${row.year})` : this.slug;
  }

  private readonly _model: IStemma;
  private readonly _actions: IPageActions;
  private readonly _scale: Scale;
}

export namespace PaperPageWidget {
  export interface IOptions {
    model: IStemma;
    slug: string;
    /** The scale that the form proposes. */
    scale: Scale;
    actions: IPageActions;
  }
}
