// Sets the chosen colours before the first paint; no module, so that it runs at once.
(function () {
  try {
    var t = localStorage.getItem('oz-theme');
    if (t === 'light' || t === 'dark') document.documentElement.dataset.theme = t;
  } catch (e) { /* no storage: as the system has it */ }
})();
