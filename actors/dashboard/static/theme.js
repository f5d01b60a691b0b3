/* The colours are chosen before anything is painted: a classic script, loaded in the head. */
(() => {
  const NAME = "meerkat-theme";
  const ORDER = ["system", "light", "dark"];
  const kept = () => {
    try {
      const found = localStorage.getItem(NAME);
      return ORDER.includes(found) ? found : "system";
    } catch {
      return "system"; // storage is switched off: the choice lasts as long as the page
    }
  };
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    const text = theme === "system" ? "as the system" : theme;
    button?.setAttribute("aria-label", `Colours: ${text}`);
    button?.setAttribute("title", `Colours: ${text}`);
  };
  apply(kept());
  document.addEventListener("DOMContentLoaded", () => {
    apply(document.documentElement.dataset.theme);
    document.getElementById("theme").addEventListener("click", () => {
      const now = ORDER.indexOf(document.documentElement.dataset.theme);
      const next = ORDER[(now + 1) % ORDER.length];
      try {
        localStorage.setItem(NAME, next);
      } catch {
        // as above
      }
      apply(next);
    });
  });
})();
