// On every page: the theme, times in the reader's own zone, copying, the account menu.

const THEMES = ['auto', 'light', 'dark'];
const YEAR_SECONDS = 365 * 24 * 3600;

function themeToggle(button) {
  const root = document.documentElement;
  const name = () => button.setAttribute('aria-label', button.dataset[root.dataset.theme] ?? '');
  name();
  button.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    const age = next === 'auto' ? 0 : YEAR_SECONDS;
    document.cookie = `theme=${next};path=/;max-age=${age};samesite=lax`;
    name();
    button.title = button.getAttribute('aria-label');
  });
}

/** Adds to a time, on hover, the reader's own zone where it differs from the contest's, and how long ago or ahead it is. */
function localTime(element) {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const lang = document.documentElement.lang;
  const here = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'short' }).format(at);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  element.title = `${here} (${zone}) · ${relative(at, lang)}`;
}

function relative(at, lang) {
  const seconds = (at.getTime() - Date.now()) / 1000;
  const units = [['day', 86400], ['hour', 3600], ['minute', 60]];
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  return new Intl.RelativeTimeFormat(lang, { numeric: 'auto' }).format(Math.round(seconds / size), unit);
}

function copyButton(button) {
  const label = button.textContent;
  button.addEventListener('click', async () => {
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 2000);
    } catch {
      // No clipboard here (plain http, or not allowed): select it, so that one key copies it.
      getSelection().selectAllChildren(source);
    }
  });
}

function accountMenu(details) {
  document.addEventListener('click', (event) => {
    if (details.open && !details.contains(event.target)) details.open = false;
  });
  details.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !details.open) return;
    details.open = false;
    details.querySelector('summary').focus();
  });
}

document.querySelectorAll('[data-theme-toggle]').forEach(themeToggle);
document.querySelectorAll('[data-copy]').forEach(copyButton);
document.querySelectorAll('details.account').forEach(accountMenu);
// On hover, not at once: a live page replaces its times, and most are never asked for.
document.addEventListener('pointerover', (event) => {
  const time = event.target.closest?.('time[datetime]');
  if (time) localTime(time);
});
