// The organizers' desk: parts that follow what happens, and the editor of the rules.

import { refreshRegion, whileVisible } from './refresh.js';

for (const region of document.querySelectorAll('[data-live]')) {
  whileVisible(Number(region.dataset.live), async () => {
    // Not under somebody's hands: a form or a link that has the focus stays where it is until the next turn.
    if (region.contains(document.activeElement) && document.activeElement.matches('button, input, select, textarea')) return;
    // What a form answers stands at the form's address, which may answer no reading.
    await refreshRegion(region.id, region.dataset.at ?? location.href);
  });
}

const CHECK_AFTER_MS = 400;

/** Checks the rules while they are typed and lists every mistake with its place; a click leads there. */
function editor(form) {
  const source = form.querySelector('textarea');
  const box = form.querySelector('#mistakes');
  const list = box.querySelector('ul');
  const file = form.querySelector('input[type=file]');
  const fine = document.createElement('p');
  fine.className = 'fine';
  let timer;
  let turn = 0;

  const text = (name, value, parent) => {
    const element = document.createElement(name);
    element.textContent = value;
    parent.append(element);
    return element;
  };
  const item = (problem) => {
    const li = document.createElement('li');
    li.className = 'problem';
    li.dataset.problem = problem.code;
    li.dataset.line = problem.line;
    li.dataset.column = problem.column;
    text('p', problem.message, li).className = 'what';
    if (problem.fix) text('p', problem.fix, li).className = 'fix';
    const where = text('p', '', li);
    where.className = 'where';
    if (problem.line) {
      const go = text('button', `${problem.line}:${problem.column}`, where);
      go.type = 'button';
      go.className = 'small quiet';
    }
    text('code', problem.code, where);
    if (problem.where) text('code', problem.where, where);
    return li;
  };
  const check = async () => {
    const mine = ++turn;
    const answer = await fetch(form.dataset.check, {
      method: 'POST',
      credentials: 'same-origin',
      headers: { 'content-type': 'application/json', accept: 'application/json', 'x-csrf-token': document.querySelector('meta[name=csrf]').content },
      body: JSON.stringify({ source: source.value }),
    });
    // A later answer is on its way, or the server is not there: the button below checks again either way.
    if (mine !== turn || !answer.ok) return;
    const { problems } = await answer.json();
    list.replaceChildren(...problems.map(item));
    fine.textContent = problems.length ? '' : box.dataset.fine;
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => check().catch(() => {}), CHECK_AFTER_MS);
  };
  box.prepend(fine);
  source.addEventListener('input', soon);
  file.addEventListener('change', async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    source.value = await chosen.text();
    file.value = '';
    source.focus();
    soon();
  });
  list.addEventListener('click', (event) => {
    const problem = event.target.closest('button')?.closest('[data-line]');
    if (!problem) return;
    const lines = source.value.split('\n');
    const line = Number(problem.dataset.line) - 1;
    const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
    source.focus();
    source.setSelectionRange(start, start + (lines[line]?.length ?? 0));
    // A text area does not scroll to its selection by itself.
    source.scrollTop = (source.scrollHeight / lines.length) * Math.max(0, line - 5);
  });
}

document.querySelectorAll('form[data-check]').forEach(editor);
