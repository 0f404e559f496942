'use strict';
const agree = document.getElementById('agree');
const refuse = document.getElementById('refuse');
const result = document.getElementById('result');
async function decide(deny) {
  agree.disabled = refuse.disabled = true;
  try {
    const answer = await fetch(agree.dataset.approve, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ user_code: document.getElementById('code').textContent, deny }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail || body.title);
    result.textContent = deny ? 'Refused. You can close this page.' : 'Done. Go back to the command line.';
  } catch (e) {
    result.textContent = 'That did not work: ' + e.message;
    agree.disabled = refuse.disabled = false;
  }
}
agree.addEventListener('click', () => decide(false));
refuse.addEventListener('click', () => decide(true));
