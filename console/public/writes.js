/** Insert, edit and delete, each one SQL procedure call; a refusal is said in words. */

import { askForRow, askToDelete, sentenceOf } from "./dialogs.js";
import { print, put } from "./json.js";
import { notify } from "./notices.js";
import { whyReadOnly } from "./tables.js";

/**
 * @typedef {import("./tables.js").Table} Table
 * @typedef {import("./connection.js").Answer} Answer
 * @typedef {{ pk: string, row: import("./live.js").Row,
 *   column: import("./values.js").Column }} Target
 */

/**
 * The key of a row, as frames have it.
 *
 * @param {readonly string[]} primaryKey
 * @param {import("./live.js").Row} row
 */
function keyOf(primaryKey, row) {
  const values = primaryKey.map((column) => row[column]);
  return values.length === 1 ? String(values[0]) : print(values);
}

export class Writes {
  /**
   * @param {import("./connection.js").Connection} connection
   * @param {(answer: Answer, onSeen: () => void) => void} onWrote
   */
  constructor(connection, onWrote) {
    this.connection = connection;
    this.onWrote = onWrote;
  }

  /**
   * Whether rows of the table can be addressed; says why when they cannot.
   *
   * @param {Table | undefined} table
   */
  canWrite(table) {
    if (table === undefined) return false;
    const why = whyReadOnly(table);
    if (why !== null) notify(why);
    return why === null;
  }

  /**
   * @param {Table | undefined} table
   * @param {Target} target
   * @param {any} value
   */
  async update(table, { pk, column }, value) {
    if (table === undefined || !this.canWrite(table)) return;
    const updates = {};
    put(updates, column.name, value);
    const payload = { primaryId: pk, updates };
    try {
      const answer = await this.connection.rpc("UPDATE_SINGLE", { table: table.name, payload });
      const isNothing = Array.isArray(answer.data) && answer.data.length === 0;
      if (isNothing) notify("Nothing was changed: that row is gone.", "trouble");
      else this.onWrote(answer, () => {});
    } catch (error) {
      notify(sentenceOf(error), "trouble");
    }
  }

  /**
   * @param {Table | undefined} table
   * @param {(pk: string) => boolean} select makes a row the active one, if it is on the page
   */
  insert(table, select) {
    if (table === undefined || table.refusal !== null) return;
    const { name, columns, primaryKey } = table;
    askForRow(name, columns, primaryKey, async (row) => {
      const answer = await this.connection.rpc("ADD_SINGLE", { table: name, payload: { row } });
      const added = Array.isArray(answer.data) ? answer.data[0] : undefined;
      this.onWrote(answer, () => {
        if (added === undefined) return;
        const isOnPage = select(keyOf(primaryKey, added));
        if (!isOnPage) notify("Inserted. The row is outside this page.");
      });
    });
  }

  /**
   * @param {Table | undefined} table
   * @param {Target | null} target
   */
  remove(table, target) {
    if (table === undefined || target === null || !this.canWrite(table)) return;
    const { pk, row } = target;
    askToDelete(table.name, pk, row, table.columns, async () => {
      const payload = { primaryId: pk };
      try {
        const answer = await this.connection.rpc("DELETE_ROW", { table: table.name, payload });
        if (answer.data === false) notify("Nothing was deleted: that row is gone.", "trouble");
        else this.onWrote(answer, () => {});
      } catch (error) {
        notify(sentenceOf(error), "trouble");
      }
    });
  }
}
