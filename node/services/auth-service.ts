/** `holdfast.auth.v1.AuthService`. */
import { create } from '@bufbuild/protobuf';
import { AuthService, LoginResponseSchema } from '@holdfast/proto/auth/v1/auth';
import type { Auth } from '../coordination/auth.ts';
import { authName, passwordBytes } from './auth-messages.ts';
import { serve, type ServedService } from './handler.ts';

/** Logging in to a node. */
export function authService(auth: Auth): ServedService {
  return serve(AuthService, {
    async login(context, { user, password }) {
      const name = authName(user, 'user');
      const token = await auth.login(name, passwordBytes(password, 'password'), context.peer(), context);
      return create(LoginResponseSchema, { token, ttlMs: BigInt(auth.tokenTtlMs) });
    },
  });
}
