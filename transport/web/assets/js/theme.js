// Sets the chosen colours before the first paint; no module, so that it runs at once.
(function () {
  try {
    var t = localStorage.getItem('oz-theme');
    if (t === 'light' || t === 'dark') document.documentElement.dataset.theme = t;
  } catch (e) { /* no storage: as the system has it */ }
})();

// A script that does not arrive leaves the page empty: this says so, and how to go on.
addEventListener('error', function (e) {
  var app = document.getElementById('app'), script = e.target;
  if (!script || script.tagName !== 'SCRIPT' || script.type !== 'module' || !app || app.firstChild) return;
  var main = document.createElement('main'), said = { h1: 'The page did not arrive whole', p: 'The connection or the server went away meanwhile. Nothing is lost.', button: 'Reload' };
  main.className = 'alone';
  Object.keys(said).forEach(function (tag) {
    var part = document.createElement(tag);
    part.textContent = said[tag];
    if (tag === 'button') { part.className = 'button primary'; part.type = 'button'; part.addEventListener('click', function () { location.reload(); }); }
    main.appendChild(part);
  });
  app.appendChild(main);
}, true);
