"use strict";
// What is the browser's: its address, its theme, what is said in plain text, and pictures.

const found = (id) => document.getElementById(id);

// Bokeh gives the handles of a slider no names
function nameHandles() {
  const range = Bokeh.documents[0].get_model_by_name("range");
  const view = range && Bokeh.index.find_one_by_id(range.id);
  const handles = view ? view.shadow_el.querySelectorAll(".noUi-handle") : [];
  handles.forEach((handle, at) => handle.setAttribute("aria-label", `${at ? "highest" : "lowest"} s_true that is shown`));
}

function follow(browser) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const tabs = document.querySelectorAll("nav button");
  let turn = 0;
  const isDark = () => (browser.theme ? browser.theme === "dark" : system.matches);
  const want = (what) => { browser.wanted = {...what, turn: ++turn}; };
  const say = () => {
    for (const name of ["heading", "sentence", "progress", "wrong"]) {
      if (found(name).textContent !== browser[name]) found(name).textContent = browser[name];
    }
    document.title = browser.title;
    for (const tab of tabs) {
      if (tab.dataset.page === browser.page) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    document.documentElement.dataset.theme = browser.theme;
    found("theme").textContent = isDark() ? "Light" : "Dark";
    found("csv").href = "table.csv?" + browser.address;
    nameHandles();
  };
  const go = () => {
    const query = "?" + browser.address;
    if (browser.address && location.search !== query) {  // while nothing is shown, the address says what is asked for
      history[browser.leaves ? "pushState" : "replaceState"](null, "", location.pathname + query);
    }
  };
  const tellSystem = () => {
    document.cookie = `system=${system.matches ? "dark" : "light"}; SameSite=Strict; Max-Age=31536000`;
    browser.system_is_dark = system.matches;
    say();
  };
  for (const name of ["heading", "sentence", "progress", "wrong", "page", "theme", "title", "address"]) {
    browser.properties[name].change.connect(say);
  }
  browser.properties.address.change.connect(go);
  system.addEventListener("change", tellSystem);
  window.addEventListener("popstate", () => want({address: location.search}));
  for (const tab of tabs) tab.addEventListener("click", () => want({page: tab.dataset.page}));
  found("theme").addEventListener("click", () => want({theme: isDark() ? "light" : "dark"}));
  tellSystem();
  go();
}

document.addEventListener("click", async (event) => {
  const button = event.composedPath().find((each) => each.dataset && each.dataset.figure);
  if (!button) return;
  const {figure, what, format} = button.dataset;
  const view = Bokeh.index.find_one_by_id(figure);
  const layer = view.export(format, true);
  const blob = format === "svg"
    ? new Blob([layer.ctx.get_serialized_svg(true)], {type: "image/svg+xml"})
    : await layer.to_blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${Bokeh.documents[0].get_model_by_name("browser").stem}${what.replace(/\s+/g, "-")}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea"); // only secure pages have a clipboard
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("no clipboard");
}

document.addEventListener("click", async (event) => {
  const button = event.composedPath().find((each) => each.dataset && each.dataset.copy);
  if (!button) return;
  const said = button.parentNode.querySelector("[role=status]");
  try {
    await copy(button.dataset.copy);
    said.textContent = "copied";
  } catch {
    said.textContent = "the browser does not allow it: select the command and copy it";
  }
  button.focus();
});

function begin() {
  const doc = window.Bokeh && Bokeh.documents[0];
  const browser = doc && doc.get_model_by_name("browser");
  if (browser) follow(browser);
  else setTimeout(begin, 20);
}
begin();
