// Before the first paint: the theme that was chosen, so that the page does not flash in the other one.
(() => {
  const asked = new URLSearchParams(location.hash.slice(1)).get("theme");
  let kept = null;
  try {
    kept = localStorage.getItem("saelex-theme");
  } catch {
    // storage may be off
  }
  const theme = asked || kept;
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
