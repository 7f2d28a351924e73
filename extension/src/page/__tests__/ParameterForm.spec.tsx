import { fireEvent, render, screen, within } from '@testing-library/react';
import React from 'react';

import { IParameter } from '../../api';
import { ParameterForm } from '../ParameterForm';
import { useParameterForm } from '../useParameterForm';
import { parameter } from './fakes';

function same<T>(value: T) {
  return { smoke: value, small: value, gpu: value, paper: value };
}

const PARAMETERS: IParameter[] = [
  parameter({ minimum: 1, maximum: 20, unit: 'seeds' }),
  parameter({ name: 'flag', type: 'bool', defaults: same(false) }),
  parameter({
    name: 'device',
    type: 'str',
    defaults: same('auto'),
    choices: ['auto', 'cpu']
  }),
  parameter({ name: 'rate', type: 'float', defaults: same(0.5) }),
  parameter({
    name: 'sizes',
    type: 'list[int]',
    defaults: { ...same([1, 2, 3]), smoke: [1] }
  })
];

function Form({ parameters = PARAMETERS }: { parameters?: IParameter[] }) {
  const form = useParameterForm(parameters, 'small');
  return (
    <>
      <ParameterForm form={form} id="p" />
      <output>{JSON.stringify(form.values)}</output>
      <button onClick={() => form.refuse({ rate: 'is too bold' })}>
        refuse
      </button>
    </>
  );
}

function field(name: string): HTMLInputElement {
  return screen.getByLabelText(name);
}

function type(name: string, value: string): void {
  fireEvent.change(field(name), { target: { value } });
}

function values(): unknown {
  return JSON.parse(screen.getByRole('status').textContent!);
}

function described(name: string): string {
  const ids = field(name).getAttribute('aria-describedby')!.split(' ');
  return ids.map(id => document.getElementById(id)!.textContent).join(' ');
}

describe('ParameterForm', () => {
  it('makes a control of each type and says what it allows', () => {
    render(<Form />);
    expect(field('flag').type).toBe('checkbox');
    expect(field('device').tagName).toBe('SELECT');
    expect(field('seeds').inputMode).toBe('numeric');
    expect(field('rate').inputMode).toBe('decimal');
    expect(field('sizes').value).toBe('1, 2, 3');
    expect(described('seeds')).toBe(
      'Master seeds. (seeds; whole number; 1 to 20)'
    );
    expect(values()).toEqual({});
  });

  it('puts what the scale decides apart from what is always the same', () => {
    render(<Form />);
    const scaled = screen.getByRole('group', { name: 'Set by the scale' });
    const names = within(scaled)
      .getAllByRole('textbox')
      .map(box => box.getAttribute('name'));
    expect(names).toEqual(['seeds', 'sizes']);
    const others = screen.getByRole('group', {
      name: 'The same at every scale'
    });
    expect(within(others).getByLabelText('rate')).toBe(field('rate'));
  });

  it('gives typed values of what was changed', () => {
    render(<Form />);
    type('seeds', '7');
    type('rate', '1');
    type('sizes', '4, 5');
    fireEvent.click(field('flag'));
    fireEvent.change(field('device'), { target: { value: 'cpu' } });
    expect(values()).toEqual({
      seeds: 7,
      rate: 1,
      sizes: [4, 5],
      flag: true,
      device: 'cpu'
    });
    type('seeds', ' 5 ');
    expect(values()).not.toHaveProperty('seeds');
  });

  it('says at the field what is wrong, at once', () => {
    render(<Form />);
    expect(field('seeds').getAttribute('aria-invalid')).toBe('false');
    type('seeds', '0');
    expect(field('seeds').getAttribute('aria-invalid')).toBe('true');
    expect(described('seeds')).toContain('must be at least 1, got 0');
    expect(values()).toBeNull();
    type('seeds', '1');
    expect(field('seeds').getAttribute('aria-invalid')).toBe('false');
    expect(values()).toEqual({ seeds: 1 });
  });

  it("shows the server's reason until the field changes", () => {
    render(<Form />);
    fireEvent.click(screen.getByText('refuse'));
    expect(described('rate')).toContain('is too bold');
    type('rate', '0.4');
    expect(described('rate')).not.toContain('is too bold');
  });

  it('takes the defaults of a scale for all fields but the changed ones', () => {
    render(<Form />);
    type('seeds', '9');
    fireEvent.click(screen.getByRole('radio', { name: /smoke/ }));
    expect(field('sizes').value).toBe('1');
    expect(field('seeds').value).toBe('9');
    expect(screen.getByText(/Changed; the default is/).textContent).toContain(
      'the default is 2'
    );
    expect(screen.getByText(/Parameters \(5, 1 changed\)/)).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'Reset seeds' }));
    expect(field('seeds').value).toBe('2');
    expect(values()).toEqual({});
  });

  it('lets a field that was brought back to its default go with the scale', () => {
    render(<Form />);
    type('seeds', '6');
    type('seeds', '5');
    fireEvent.click(screen.getByRole('radio', { name: /smoke/ }));
    expect(field('seeds').value).toBe('2');
  });

  it('resets everything', () => {
    render(<Form />);
    type('seeds', '9');
    type('rate', 'x');
    fireEvent.click(screen.getByText('Reset all to the defaults of small'));
    expect(field('seeds').value).toBe('5');
    expect(field('rate').value).toBe('0.5');
    expect(values()).toEqual({});
  });

  it('draws at a key press only the field that changed', () => {
    const many = Array.from({ length: 30 }, (_, index) => {
      let reads = 0;
      const made = parameter({ name: `p${index}` });
      Object.defineProperty(made, 'help', { get: () => `read ${++reads}` });
      return made;
    });
    render(<Form parameters={many} />);
    const before = described('p1');
    type('p0', '8');
    expect(described('p0')).not.toBe('read 1 (whole number)');
    expect(described('p1')).toBe(before);
  });
});
