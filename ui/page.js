// One listener for every button inside cards, cart and memory: they carry what a press means in data-…,
// and the page's server decides what happens.
document.addEventListener('click', (click) => {
  const button = click.target instanceof Element ? click.target.closest('button[data-press]') : null;
  if (button && !button.disabled) trigger('press', { ...button.dataset });
});

// Gradio follows the talk only while its end is in sight; what the shopper just said must always be.
let said = 0;
new MutationObserver(() => {
  const talk = document.querySelector('#st-talk [role="log"]');
  const now = talk ? talk.querySelectorAll('.user-row').length : 0;
  if (now > said) requestAnimationFrame(() => talk.scrollTo({ top: talk.scrollHeight }));
  said = now;
}).observe(document.body, { childList: true, subtree: true });
