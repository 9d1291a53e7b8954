'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const { levels, images, classes, thumbs } = data;
  const top = levels.length - 1;
  const PAGE = 60;
  const FOUND = 40;
  const byId = (id) => document.getElementById(id);

  // Text goes into the page as text, never as HTML.
  const make = (tag, kind, ...children) => {
    const found = document.createElement(tag);
    if (kind) found.className = kind;
    found.append(...children);
    return found;
  };
  const count = (n, one) =>
    `${n.toLocaleString('en')} ${one}${n === 1 ? '' : 's'}`;
  const images_of = (n) => count(n, 'image');
  const percent = (share) => `${Math.round(100 * share)} %`;
  const className = (label) => classes[label] ?? String(label);
  const nameOf = (level, cluster) => {
    const name = levels[level].names?.[cluster];
    return `K = ${levels[level].k} #${cluster}${name ? ` ${name}` : ''}`;
  };

  // ---- what is known of a cluster --------------------------------------
  const childrenOf = levels.map(() => []);
  for (let level = 0; level < top; level += 1) {
    levels[level].parent.forEach((parent, cluster) => {
      (childrenOf[level + 1][parent] ??= []).push(cluster);
    });
  }
  const largest = levels.map((level) =>
    level.size.reduce((most, size) => Math.max(most, size), 1));

  const majority = (level, cluster) => {
    const { top: best, known } = levels[level];
    if (!best || !best[cluster].length) return '';
    const [label, number] = best[cluster][0];
    return `class ${className(label)}: ${percent(number / known[cluster])}`;
  };

  const orders = {
    size: (level) => (a, b) =>
      levels[level].size[b] - levels[level].size[a] || a - b,
    phi: (level) => (a, b) =>
      levels[level].phi[a] - levels[level].phi[b] || a - b,
    number: () => (a, b) => a - b,
  };
  const ordered = (level, clusters) =>
    [...clusters].sort(orders[byId('order').value](level));

  // ---- pictures ---------------------------------------------------------
  const picture = (place, side, label) => {
    const found = make('span', `thumb sheet${Math.floor(place / thumbs.sheet)}`);
    const start = place - (place % thumbs.sheet);
    const inSheet = Math.min(thumbs.sheet, thumbs.count - start);
    const rows = Math.ceil(inSheet / thumbs.columns);
    const at = place - start;
    const { style } = found;
    style.width = style.height = `${side}px`;
    style.backgroundSize = `${thumbs.columns * side}px ${rows * side}px`;
    style.backgroundPosition =
      `${-side * (at % thumbs.columns)}px ` +
      `${-side * Math.floor(at / thumbs.columns)}px`;
    if (thumbs.side < 40) found.classList.add('pixels');
    if (label) {
      found.setAttribute('role', 'img');
      found.setAttribute('aria-label', label);
      found.title = label;
    } else {
      found.setAttribute('aria-hidden', 'true');
    }
    return found;
  };
  const about = (place, level) => {
    const [path, label, , distances] = images[place];
    const known = label < 0 ? '' : `, class ${className(label)}`;
    return `${path}${known}, distance ${distances[level]}`;
  };

  const jump = (level, cluster, text) => {
    const found = make('button', 'link', text ?? nameOf(level, cluster));
    found.type = 'button';
    found.addEventListener('click', () => reveal(level, cluster));
    return found;
  };

  const showDetail = (panel, place, level) => {
    const [path, label, clusters, distances] = images[place];
    const lines = [make('p', 'path', path)];
    if (label >= 0) lines.push(make('p', '', `class ${className(label)}`));
    lines.push(make('p', '',
      `distance ${distances[level]} to ${nameOf(level, clusters[level])}`));
    const others = make('p', '', 'It is in ');
    for (let at = top; at >= 0; at -= 1) {
      if (at < top) others.append(', ');
      others.append(jump(at, clusters[at]),
        at === level ? '' : ` (distance ${distances[at]})`);
    }
    lines.push(others);
    panel.replaceChildren(picture(place, 112), make('div', '', ...lines));
  };

  const imageGrid = (places, level, panel, title) => {
    const grid = make('div', 'images');
    grid.setAttribute('role', 'group');
    grid.setAttribute('aria-label', title);
    for (const place of places) {
      const [, label, , distances] = images[place];
      const button = make('button', 'image', picture(place, 60));
      button.type = 'button';
      button.title = about(place, level);
      button.setAttribute('aria-label', about(place, level));
      button.setAttribute('aria-pressed', 'false');
      if (label >= 0) {
        button.append(make('span', 'class', className(label)));
      }
      button.append(make('span', 'away', String(distances[level])));
      button.addEventListener('click', () => {
        const node = panel.parentElement;
        for (const other of node.querySelectorAll(
          ':scope > .images > [aria-pressed="true"]')) {
          other.setAttribute('aria-pressed', 'false');
        }
        button.setAttribute('aria-pressed', 'true');
        showDetail(panel, place, level);
        panel.scrollIntoView({ block: 'nearest' });
      });
      grid.append(button);
    }
    return grid;
  };

  // ---- the tree ---------------------------------------------------------
  const amount = (size, most, text) => {
    const bar = make('i', '');
    bar.style.width = `${(100 * size) / most}%`;
    return make('span', 'amount', make('span', 'track', bar), text);
  };

  const fill = (node) => {
    if (node.dataset.filled) return;
    node.dataset.filled = 'yes';
    const level = Number(node.dataset.level);
    const cluster = Number(node.dataset.cluster);
    const own = levels[level];
    const body = make('div', 'body');
    const line = make('p', 'soft');
    if (own.mean[cluster] !== null) {
      line.append(`mean distance ${own.mean[cluster]}`);
    } else {
      line.append('No image is in this cluster.');
    }
    if (level < top) {
      const parent = own.parent[cluster];
      line.append(`; ${percent(own.share[cluster])} of its images are in `,
        jump(level + 1, parent));
    }
    body.append(line);
    if (own.top && own.top[cluster].length) {
      const list = make('ul', 'classes');
      for (const [label, number] of own.top[cluster]) {
        const bar = make('i', '');
        bar.style.width = `${(100 * number) / own.known[cluster]}%`;
        list.append(make('li', '', make('span', 'track', bar),
          `${className(label)}: ${number} ` +
          `(${percent(number / own.known[cluster])})`));
      }
      body.append(make('h4', '', 'Classes'), list);
    }
    const panel = make('div', 'detail');
    panel.setAttribute('aria-live', 'polite');
    const { near, far, size } = own;
    if (near[cluster].length) {
      const all = near[cluster].length === size[cluster];
      const title = all
        ? `All ${images_of(size[cluster])}, the nearest first`
        : `Nearest ${near[cluster].length} of ${images_of(size[cluster])}`;
      body.append(make('h4', '', title),
        imageGrid(near[cluster], level, panel, title));
    } else if (size[cluster]) {
      body.append(make('p', 'soft',
        'Its images are left out of this page (--max-images).'));
    }
    if (far[cluster].length) {
      const title = `Farthest ${far[cluster].length}, the farthest first`;
      body.append(make('h4', '', title),
        imageGrid(far[cluster], level, panel, title));
    }
    body.append(panel);
    const children = childrenOf[level][cluster] ?? [];
    if (level > 0) {
      const list = make('div', 'children');
      body.append(make('h4', '', children.length
        ? `Children: ${count(children.length, 'prototype')} of K = ` +
          `${levels[level - 1].k}`
        : `No child of K = ${levels[level - 1].k}`), list);
      addNodes(list, level - 1, ordered(level - 1, children));
    }
    node.append(body);
  };

  const makeNode = (level, cluster) => {
    const own = levels[level];
    const node = make('details', 'node');
    node.id = `node-${level}-${cluster}`;
    node.dataset.level = level;
    node.dataset.cluster = cluster;
    const summary = make('summary', '');
    const near = own.near[cluster];
    if (near.length) summary.append(picture(near[0], 32));
    summary.append(
      make('span', 'name', nameOf(level, cluster)),
      amount(own.size[cluster], largest[level], images_of(own.size[cluster])),
      make('span', 'soft', `φ ${own.phi[cluster]}`),
      make('span', '', majority(level, cluster)));
    node.append(summary);
    node.addEventListener('toggle', () => {
      if (node.open) fill(node);
    });
    return node;
  };

  // Long lists come in pages.
  const addNodes = (list, level, clusters) => {
    let shown = 0;
    const more = make('button', '');
    more.type = 'button';
    const show = (number) => {
      more.remove();
      const next = clusters.slice(shown, shown + number);
      list.append(...next.map((cluster) => makeNode(level, cluster)));
      shown += next.length;
      if (shown < clusters.length) {
        more.textContent = `Show more (${clusters.length - shown} are left)`;
        list.append(more);
      }
      return list.children[shown - next.length];
    };
    more.addEventListener('click', () =>
      show(PAGE).querySelector('summary').focus());
    list.showUntil = (cluster) => {
      const place = clusters.indexOf(cluster);
      if (place >= shown) show(place + 1 - shown);
    };
    show(PAGE);
  };

  const plant = () => {
    const roots = [...Array(levels[top].k).keys()];
    byId('tree').replaceChildren();
    addNodes(byId('tree'), top, ordered(top, roots));
  };

  const reveal = (level, cluster) => {
    const chain = [cluster];
    for (let at = level; at < top; at += 1) {
      chain.unshift(levels[at].parent[chain[0]]);
    }
    let list = byId('tree');
    let node = null;
    chain.forEach((own, depth) => {
      list.showUntil(own);
      node = byId(`node-${top - depth}-${own}`);
      fill(node);
      node.open = true;
      list = node.querySelector(':scope > .body > .children');
    });
    const summary = node.querySelector('summary');
    summary.focus({ preventScroll: true });
    summary.scrollIntoView({ block: 'start' });
  };

  // ---- search -------------------------------------------------------------
  const search = (text, only) => {
    const query = text.trim().toLowerCase();
    const found = [];
    if (!query) return found;
    const asked = query.match(
      /^(?:k\s*=?\s*(\d+)\s*[,#:\s]\s*)?#?\s*(0|[1-9]\d*)$/);
    // A number that names a class or a cluster is no part of other names.
    const labels = new Set();
    const named = (fits) => classes.forEach((name, label) => {
      if (fits(name.toLowerCase())) labels.add(label);
    });
    named((name) => name === query);
    const cluster = asked && levels.some(({ k }) => Number(asked[2]) < k);
    if (!labels.size && !cluster) named((name) => name.includes(query));
    for (let level = top; level >= 0; level -= 1) {
      if (only !== '' && Number(only) !== level) continue;
      const { k, top: best, known } = levels[level];
      if (asked && (asked[1] === undefined || Number(asked[1]) === k) &&
          Number(asked[2]) < k) {
        found.push({ level, cluster: Number(asked[2]), rank: 2,
          text: majority(level, Number(asked[2])) });
      }
      (levels[level].names ?? []).forEach((name, own) => {
        if (name.toLowerCase().includes(query)) {
          found.push({ level, cluster: own, rank: 2,
            text: majority(level, own) });
        }
      });
      if (!best || !labels.size) continue;
      best.forEach((pairs, cluster) => {
        for (const [label, number] of pairs) {
          if (!labels.has(label)) continue;
          const share = number / known[cluster];
          found.push({ level, cluster, rank: share,
            text: `class ${className(label)}: ${percent(share)} ` +
              `(${number} of ${known[cluster]})` });
        }
      });
    }
    return found.sort((a, b) => b.rank - a.rank);
  };

  const showFound = () => {
    const query = byId('query').value;
    const found = search(query, byId('query-level').value);
    byId('results').replaceChildren(...found.slice(0, FOUND).map((hit) => {
      const item = make('span', 'found');
      const near = levels[hit.level].near[hit.cluster];
      if (near.length) item.append(picture(near[0], 24));
      item.append(jump(hit.level, hit.cluster),
        make('span', 'soft', hit.text));
      return make('li', '', item);
    }));
    let text = '';
    if (query.trim()) {
      text = found.length ? `${found.length} found` : 'Nothing found';
      if (found.length > FOUND) text += `, the first ${FOUND} are shown`;
    }
    byId('found').textContent = text;
  };

  // ---- gallery -------------------------------------------------------------
  const fillGallery = (fold) => {
    if (fold.dataset.filled) return;
    fold.dataset.filled = 'yes';
    const level = Number(fold.dataset.level);
    const own = levels[level];
    const clusters = [...Array(own.k).keys()]
      .filter((cluster) => own.size[cluster])
      .sort(orders.phi(level));
    const side = 48;
    const row = (cluster) => {
      const strip = make('div', 'strip',
        ...own.near[cluster].slice(0, 8)
          .map((place) => picture(place, side, about(place, level))));
      if (own.far[cluster].length) {
        strip.append(make('span', 'far', ...own.far[cluster].slice(0, 4)
          .map((place) => picture(place, side, about(place, level)))));
      }
      return make('div', 'row', make('div', 'about',
        jump(level, cluster), make('div', 'soft',
          [images_of(own.size[cluster]), `φ ${own.phi[cluster]}`,
            majority(level, cluster)].filter(Boolean).join(' · '))), strip);
    };
    let shown = 0;
    const more = make('button', '');
    more.type = 'button';
    const show = () => {
      more.remove();
      fold.append(...clusters.slice(shown, shown + PAGE).map(row));
      shown = Math.min(clusters.length, shown + PAGE);
      if (shown < clusters.length) {
        more.textContent = `Show more (${clusters.length - shown} are left)`;
        fold.append(more);
      }
    };
    more.addEventListener('click', show);
    show();
  };

  byId('query').addEventListener('input', showFound);
  byId('query-level').addEventListener('change', showFound);
  byId('order').addEventListener('change', plant);
  byId('close-all').addEventListener('click', plant);
  for (const fold of document.querySelectorAll('.gallery')) {
    fold.addEventListener('toggle', () => {
      if (fold.open) fillGallery(fold);
    });
  }
  plant();
})();
