// Adds to a page that is whole without it: a search, buttons that copy, and where one is in the navigation.
"use strict";

const search = document.getElementById("search");
const operations = [...document.querySelectorAll("article")].map((article) => ({
  article,
  link: document.querySelector(`nav a[href="#${article.id}"]`),
  text: `${article.querySelector(".words").textContent} ${article.id}`.toLowerCase(),
}));
const groups = [...document.querySelectorAll("section.group")];
const folds = [...document.querySelectorAll("nav details")].map((fold) => ({ fold, wasOpen: fold.open }));

const show = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const { article, link, text } of operations) {
    const isFound = words.every((word) => text.includes(word));
    article.hidden = link.parentElement.hidden = !isFound;
    found += isFound;
  }
  for (const group of groups) {
    group.hidden = words.length > 0 && !group.querySelector("article:not([hidden])");
  }
  for (const { fold, wasOpen } of folds) {
    fold.hidden = !fold.querySelector("li:not([hidden])");
    fold.open = words.length > 0 || wasOpen;
  }
  document.getElementById("top").hidden = words.length > 0;
  document.getElementById("nothing").hidden = found > 0;
};

search.hidden = false;
search.addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "TEXTAREA"].includes(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && document.activeElement === search) {
    search.value = "";
    show();
  }
});
// A link into a part that the search has put away brings it back.
window.addEventListener("hashchange", () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.closest("[hidden]")) {
    search.value = "";
    show();
    target.scrollIntoView();
  }
});

if (navigator.clipboard) {
  for (const example of document.querySelectorAll(".example")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(example.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    example.prepend(button);
  }
}

const inSight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    document.querySelector("nav a.here")?.classList.remove("here");
    document.querySelector(`nav a[href="#${target.id}"]`)?.classList.add("here");
  }
}, { rootMargin: "-10% 0px -75% 0px" });
operations.forEach(({ article }) => inSight.observe(article));
