// Adds to each search result the first sentence of its page.
(() => {
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href).href;
  const describe = (item) => {
    const link = item.querySelector("a");
    if (!link || item.querySelector(".summary")) return;
    const page = decodeURI(link.href.split(/[?#]/)[0].slice(root.length)).replace(/\.html$/, "");
    const text = (window.esmkitSummaries || {})[page];
    if (!text) return;
    const line = document.createElement("p");
    line.className = "summary";
    line.textContent = text;
    item.append(line);
  };
  const watch = () => {
    const results = document.getElementById("search-results");
    if (!results) return;
    const all = () => results.querySelectorAll("ul.search > li").forEach(describe);
    new MutationObserver(all).observe(results, { childList: true, subtree: true });
    all();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else watch();
})();
