// What a notebook's page does that only a page can: show what went on in the kernel while it was reloaded or away, and save.
//
// JupyterLab loads this as it is, without a build. The kernel's part is in ui/mirror.py.
(() => {
  'use strict';

  const ASKED = 'cgrunbook';
  const SAVE = 'cgrunbook_save';
  // What JupyterLab itself takes for no change of the file where its server knows no hash of it, in milliseconds.
  const SAME = 500;
  // How long a kernel is idle before it is between two cells no more, in milliseconds.
  const SETTLED = 500;

  class Page {
    constructor(app, panel, context) {
      this.contents = app.serviceManager.contents;
      this.panel = panel;
      this.context = context;
      this.session = context.sessionContext;
      // The cells whose messages come to nobody else, by the number of the request that runs them.
      this.adopted = new Map();
      this.catchingUp = null;
      this.saving = Promise.resolve();
      // JupyterLab takes what another save of its own has just written for somebody else's, and asks; so they take turns.
      this.write = context.save.bind(context);
      context.save = () => this.inTurn(this.write);
      this.session.iopubMessage.connect((_, message) => this.hear(message));
      this.session.connectionStatusChanged.connect((_, status) => {
        if (status === 'connected') this.catchUp();
      });
      this.session.statusChanged.connect((_, status) => {
        if (['restarting', 'autorestarting', 'dead', 'terminating'].includes(status)) this.letGo();
        if (status === 'idle') setTimeout(() => this.lookForEnds(), SETTLED);
      });
      Promise.all([context.ready, this.session.ready]).then(() => this.catchUp());
    }

    cells() {
      return this.panel.content.widgets.filter(cell => cell.model.type === 'code');
    }

    // Ask the kernel what its cells show, and show that where another page had sent them.
    async catchUp() {
      const kernel = this.session.session?.kernel;
      const ours = this.cells().some(cell => cell.model.sharedModel.getSource().includes('open_notebook('));
      if (!kernel || !ours) return;
      if (this.catchingUp) {
        this.catchingUp.again = true; // it may have asked a connection that is gone
        return;
      }
      this.catchingUp = { heard: [], again: false };
      try {
        const reply = await kernel.requestCommInfo({ target_name: ASKED });
        const told = reply.content[ASKED];
        if (!told || this.panel.isDisposed || kernel !== this.session.session?.kernel) return;
        this.passHeard(reply.parent_header.msg_id);
        for (const cell of this.cells()) {
          const id = cell.model.sharedModel.getId();
          const queued = told.queued[id];
          const shown = queued ? { request: queued, count: null, outputs: [], ended: false } : told.cells[id];
          const same = shown && cell.outputArea.future?.msg.header.msg_id === shown.request;
          const missedItsEnd = same && shown.ended && this.adopted.has(shown.request) && !this.isIdle(cell);
          if (shown && (!same || missedItsEnd)) this.adopt(cell, shown);
        }
        this.passHeard();
        if (this.adopted.size) this.save();
      } catch (error) {
        // The connection is lost again, or the kernel gone: there will be another time, or nothing to ask.
        console.debug(error);
      } finally {
        const { again } = this.catchingUp;
        this.passHeard();
        this.catchingUp = null;
        if (again && !this.panel.isDisposed) this.catchUp();
      }
    }

    // Pass on what was heard while the kernel was asked: all of it, or what the answer to this request has already.
    // Others on this page ask for comms too, so it is told by its number.
    passHeard(request) {
      const { heard } = this.catchingUp;
      const end = heard.findIndex(({ header, parent_header: parent, content }) =>
        header.msg_type === 'status' && content.execution_state === 'idle' && parent.msg_id === request);
      heard.splice(0, end < 0 ? heard.length : end + 1).forEach(message => this.pass(message));
    }

    isIdle(cell) {
      return cell.model.executionState === 'idle';
    }

    // A kernel that has nothing to do runs no cell: whatever page thinks so has not heard of its end.
    async lookForEnds() {
      const idle = () => this.session.session?.kernel?.status === 'idle';
      const running = () => [...this.adopted.values()].some(({ cell }) => !cell.isDisposed && !this.isIdle(cell));
      if (this.catchingUp || !idle() || !running()) return;
      await this.catchUp();
      if (idle() && running()) this.letGo();
    }

    // Let a cell show what the kernel says it shows, and go on from there.
    adopt(cell, shown) {
      const future = {
        msg: { header: { msg_id: shown.request }, content: {}, metadata: {} },
        done: new Promise(() => {}),
        isDisposed: false,
        dispose() { this.isDisposed = true; },
        registerMessageHook() {},
        removeMessageHook() {},
      };
      cell.model.trusted = true;
      cell.outputArea.future = future; // clears what stood there
      for (const { type, content } of shown.outputs) {
        future.onIOPub({ channel: 'iopub', header: { msg_type: type }, parent_header: {}, metadata: {}, content });
      }
      // JupyterLab takes a cell that has its number for one that has ended.
      if (shown.ended) cell.model.executionCount = shown.count;
      cell.model.executionState = shown.ended ? 'idle' : 'running';
      this.adopted.set(shown.request, { cell, future, count: shown.count });
    }

    hear(message) {
      const { header, parent_header: parent, content } = message;
      if (header.msg_type === SAVE) {
        this.save();
      } else {
        if (this.catchingUp) this.catchingUp.heard.push(message);
        else this.pass(message);
        const ours = parent.session === this.session.session?.kernel?.clientId || this.adopted.has(parent.msg_id);
        // A cell begins that another page had sent before the kernel kept count.
        if (header.msg_type === 'execute_input' && !ours) this.catchUp();
      }
    }

    // Hand a message on to the adopted cell that it belongs to. A display is updated whoever's request that happens in.
    pass(message) {
      const { header, parent_header: parent, content } = message;
      if (header.msg_type === 'update_display_data') {
        for (const { future } of this.adopted.values()) if (!future.isDisposed) future.onIOPub(message);
        return;
      }
      const one = this.adopted.get(parent?.msg_id);
      if (!one || one.future.isDisposed) return;
      one.future.onIOPub(message);
      if (header.msg_type === 'execute_input') one.count = content.execution_count;
      if (header.msg_type === 'status' && content.execution_state === 'idle') {
        one.cell.model.executionState = 'idle';
        one.cell.model.executionCount = one.count;
      }
    }

    // The kernel is gone: none of its cells runs any more.
    letGo() {
      for (const { cell, future } of this.adopted.values()) {
        if (!future.isDisposed && !cell.isDisposed) cell.model.executionState = 'idle';
      }
      this.adopted.clear();
    }

    inTurn(save) {
      const saved = this.saving.then(save);
      this.saving = saved.catch(() => {}); // whoever asked for it is told
      return saved;
    }

    save() {
      this.inTurn(() => this.saveNow()).catch(error => console.debug(error));
    }

    // Save, unless that would have to ask: a file that somebody else has written since is not ours to overwrite.
    async saveNow() {
      const { context } = this;
      if (context.isDisposed || !context.model.dirty || !context.contentsModel?.writable) return;
      const save = async () => {
        const there = await this.contents.get(context.path, { content: false, hash: true });
        const known = context.contentsModel;
        const same = there.hash && known.hash ? there.hash === known.hash
          : new Date(there.last_modified) - new Date(known.last_modified) <= SAME;
        if (same && !context.isDisposed) await this.write();
      };
      // Two pages with the same notebook take turns, where the browser lets them.
      await (navigator.locks ? navigator.locks.request(`cgrunbook ${context.path}`, save) : save());
    }
  }

  const plugin = {
    id: 'cgrunbook:page',
    autoStart: true,
    activate(app) {
      app.docRegistry.addWidgetExtension('Notebook', {
        createNew(panel, context) { new Page(app, panel, context); },
      });
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.cgrunbook = {
    init: () => {},
    get: () => Promise.resolve(() => ({ __esModule: true, default: plugin })),
  };
})();
